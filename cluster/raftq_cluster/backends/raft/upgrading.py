"""When a cluster begins to write a new format: once every member has said that it reads it.

Members tell with their facts which formats they read. The leader looks once a second; when all of them, lately and over
connections that stand, say that they read a higher one than the log is in, it appends an entry from which on the log
is in that format. It never falls back: what is in force is decided by the log, by snapshots and by nothing else.
A node of an older version is refused from then on, in the handshake, by the leader, and by itself.
"""

import logging
from typing import Final

from raftq_cluster.backends.raft.commands import format_command
from raftq_cluster.backends.raft.engine import Engine
from raftq_cluster.backends.raft.engine_api import MembersRefusedError
from raftq_cluster.backends.raft.facts import FactsBoard

_log: Final = logging.getLogger(__name__)


class Upgrading:
    """A leader's duty towards newer members."""

    def __init__(self, engine: Engine, facts: FactsBoard) -> None:
        self._engine = engine
        self._facts = facts

    def tick(self) -> None:
        """Raise the format if this node leads and everybody reads a higher one."""
        engine = self._engine
        number = self._facts.read_by_all()
        if not engine.is_leader or number <= engine.log_format:
            return
        try:
            index = engine.propose(format_command(number))
        except MembersRefusedError:
            return
        _log.info(
            "all members read format %d of the log: it is written behind entry %d", number, index
        )
