"""Handing the leadership over: wait until the heir has the whole log, then let it stand for election at once.

Source: Raft thesis 3.10. Nothing is appended meanwhile; see ``engine``.
"""

from collections.abc import Callable
from typing import Final

from raftq_cluster.backends.raft.consensus import Consensus
from raftq_cluster.backends.raft.member_log import MemberLog
from raftq_cluster.backends.raft.messages import Message, TimeoutNow

# A transfer that has not happened after so long is given up.
TRANSFER_S: Final = 1.0
# Who leads on if it must does not stop appending for an heir that lacks more entries than these, some
# tenths of a second of a busy log: it would wait in vain, again and again.
HEIR_LAG_MAX: Final = 256


class Transfer:
    """At most one at a time. ``send`` takes ``(peer, message)`` and may refuse it."""

    def __init__(
        self,
        consensus: Consensus,
        log: MemberLog,
        send: Callable[[str, Message], bool],
        monotonic: Callable[[], float],
    ) -> None:
        self._consensus = consensus
        self._log = log
        self._send = send
        self._monotonic = monotonic
        self._until_s = 0.0
        self._is_told = False
        self.heir = ""  # who is to lead next, while a transfer is under way

    def begin(self, heir: str) -> None:
        """Hand over to this voter."""
        self.heir = heir
        self._until_s = self._monotonic() + TRANSFER_S
        self._is_told = False

    def advance(self) -> None:
        """Tell the heir once it has everything; give up when it is too late."""
        if not self.heir:
            return
        consensus, log = self._consensus, self._log
        if not consensus.is_leader or self._monotonic() > self._until_s:
            self.heir = ""
            return
        is_ready = consensus.match_of(self.heir) == log.last_index == log.durable_index
        if is_ready and not self._is_told:
            self._is_told = self._send(self.heir, TimeoutNow(consensus.term))
