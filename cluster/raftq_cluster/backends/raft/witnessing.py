"""One node as the witness of what the others hold: hears it, keeps it, and says who has lost what.

What members tell is in memory at once and on disk within ``KEEP_S``: a sync for each would cost more than it saves.
So what was acknowledged in the last seconds before a copy was restored can go unnoticed only
if every witness of it was gone as well. Rules are in ``pasts``, bytes in ``storage/witness``.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from raftq_cluster.backends.raft.engine import Engine
from raftq_cluster.backends.raft.membership import find
from raftq_cluster.backends.raft.messages import NUMBER_MAX
from raftq_cluster.backends.raft.pasts import Held, Pasts
from raftq_cluster.backends.raft.peer_api import Identity
from raftq_cluster.backends.raft.storage.errors import StorageError, StorageFullError
from raftq_cluster.backends.raft.storage.witness import WitnessFile
from raftq_cluster.backends.raft.upkeep import InThread

_log: Final = logging.getLogger(__name__)

KEEP_S: Final = 10  # calls of ``each_second`` between two writes


class Witness:
    """``fail`` is told a sentence when the disk fails."""

    def __init__(
        self, file: WitnessFile, engine: Engine, in_thread: InThread, fail: Callable[[str], None]
    ) -> None:
        self._file = file
        self._engine = engine
        self._in_thread = in_thread
        self._fail = fail
        self._pasts = Pasts({birth: Held(*told) for birth, told in file.told.items()})
        self._kept = 0  # changes that are on disk
        self._seconds = 0
        self._task: asyncio.Task[None] | None = None

    # --- this node's own ------------------------------------------------------------------------

    def tell(self) -> tuple[int, int] | None:
        """What this node can say that it holds: (term, index), None if nothing certain."""
        return self._engine.consensus.held()

    # --- the others' ----------------------------------------------------------------------------

    def hear(self, peer: str, told: object) -> None:
        """A member has told what it holds. What is of another shape is passed over."""
        member = find(self._engine.members, peer)
        if member is None or not isinstance(told, tuple) or len(told) != 2:
            return
        if all(type(number) is int and 0 <= number <= NUMBER_MAX for number in told):
            self._pasts.note(member.birth, Held(*told))

    def what_is_lost(self, peer: Identity) -> str:
        """Say why this node cannot be a peer: it has lost a part of its past; "" if nothing shows it."""
        end = None if peer.end is None else Held(*peer.end)
        return self._pasts.what_is_lost(peer.node_id, peer.birth, end)

    # --- on disk --------------------------------------------------------------------------------

    def each_second(self) -> None:
        """Keep what is new, now and then."""
        self._seconds += 1
        if self._seconds < KEEP_S or self._task is not None:
            return
        self._seconds = 0
        self._pasts.forget_others(member.birth for member in self._engine.members)
        if self._pasts.changes != self._kept:
            self._task = asyncio.create_task(self._keep(), name="raft witness")

    async def _keep(self) -> None:
        changes, told = self._pasts.changes, dict(self._pasts.known)
        try:
            await self._in_thread(lambda: self._file.write(told))
            self._kept = changes
        except StorageFullError as error:
            _log.warning("what other nodes hold is not kept for now: %s", error)
        except StorageError as error:
            self._fail(str(error))
        finally:
            self._task = None

    async def close(self) -> None:
        """Keep what is new, and give the file back."""
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._pasts.changes != self._kept:
            await self._keep()
        self._file.close()
