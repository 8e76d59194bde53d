"""The state machine of this node, and who waits for what becomes of its entries.

Applies committed commands in the order of the log and tells the sinks of the entries that this
node proposed. Its own entries are applied from the operations as they were received, everything else
from the bytes of the log: both are the same operations. Knows nothing of disks, votes or peers.

No sink and no listener can stop it: an exception of theirs is logged and passed over. Its own
exception, :class:`ReplicaError`, means that a committed command cannot be applied; the node must stop.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from raftq_cluster.backends.api import Ready, Sink
from raftq_cluster.backends.raft import commands
from raftq_cluster.backends.raft.commands import Member
from raftq_cluster.backends.raft.proposals import Proposal, Segment
from raftq_cluster.codec.entries import decode_entry
from raftq_cluster.codec.errors import CodecError
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.operations import Operation
from raftq_cluster.core.outcomes import Outcome, Unfinished

_log: Final = logging.getLogger(__name__)

UNAVAILABLE: Final = "unavailable"  # certainly not done
UNKNOWN: Final = "outcome_unknown"


class ReplicaError(Exception):
    """A committed entry cannot be applied: this node's state would differ from the log's."""


class Replica:
    """The machine and the proposals whose entries it has not applied yet.

    ``index`` is that of the last applied entry of any kind, ``members`` the cluster as of it.
    """

    def __init__(self, machine: Machine, index: int, members: tuple[Member, ...]) -> None:
        self.machine = machine
        self.index = index
        self.members = members
        self._proposals: dict[int, Proposal] = {}
        self._listener: Callable[[Ready], None] | None = None
        self._appliers = {
            commands.DATA: self._apply_data,
            commands.NOOP: self._apply_noop,
            commands.CONFIG: self._apply_config,
        }

    def on_ready(self, listener: Callable[[Ready], None]) -> None:
        """Tell ``listener`` after each entry what became claimable by it, if only nothing."""
        self._listener = listener

    def expect(self, index: int, proposal: Proposal) -> None:
        """Remember what this node has appended at ``index``."""
        self._proposals[index] = proposal

    def apply(self, index: int, term: int, command: bytes) -> None:
        """Apply the next committed command and tell its sinks.

        Raises:
            ReplicaError: it is not the next one, or the machine cannot apply it.
        """
        if index != self.index + 1:
            raise ReplicaError(f"entry {index} follows entry {self.index}")
        proposal = self._proposals.pop(index, None)
        if proposal is not None and proposal.term != term:
            abandon(proposal.segments, index, UNAVAILABLE, "another leader took over before")
            proposal = None
        self.index = index
        applier = self._appliers.get(command[0])
        if applier is None:
            raise ReplicaError(f"entry {index} is of kind {command[0]}, unknown to this version")
        try:
            applier(index, command, proposal)
        except CodecError as error:
            raise ReplicaError(f"entry {index} cannot be read: {error}") from error

    def _apply_noop(self, index: int, command: bytes, proposal: Proposal | None) -> None:
        """Nothing: a leadership has begun."""

    def _apply_config(self, index: int, command: bytes, proposal: Proposal | None) -> None:
        del index, proposal
        self.members = commands.decode_members(command[1:])

    def _apply_data(self, index: int, command: bytes, proposal: Proposal | None) -> None:
        own: list[Segment] = []
        segments: Sequence[Sequence[Operation]]
        if proposal is None:
            now_ms, seed, segments = decode_entry(command[1:])
        else:
            now_ms, seed, own = proposal.now_ms, proposal.seed, proposal.segments
            segments = [segment.operations for segment in own]
        try:
            applied = self.machine.apply(index, now_ms, seed, segments)
        except Exception as error:  # whatever it is: the state may be half changed
            abandon(own, index, UNKNOWN, "the node has stopped")
            raise ReplicaError(f"entry {index} cannot be applied: {error!r}") from error
        for segment, outcomes in zip(own, applied.outcomes, strict=False):
            tell(segment.sink, index, outcomes)
        if self._listener is not None:
            _tell_listener(self._listener, applied.ready)

    def abandon(self, detail: str) -> None:
        """Tell everyone whose entry is in the log that its outcome is not known."""
        proposals, self._proposals = self._proposals, {}
        for proposal in proposals.values():
            abandon(proposal.segments, self.index, UNKNOWN, detail)


def abandon(segments: Iterable[Segment], index: int, code: str, detail: str) -> None:
    """Tell sinks that their operations were not, or not certainly, done."""
    outcome = Unfinished(code, detail)
    for segment in segments:
        tell(segment.sink, index, [outcome] * len(segment.operations))


def tell(sink: Sink, index: int, outcomes: Sequence[Outcome]) -> None:
    """Call a sink and survive it."""
    try:
        sink(index, outcomes)
    except Exception:  # noqa: BLE001 - one bad sink may not harm the other callers
        _log.exception("a sink has raised; its outcomes are lost to its caller")


def _tell_listener(listener: Callable[[Ready], None], ready: Ready) -> None:
    try:
        listener(ready)
    except Exception:  # noqa: BLE001 - nor a bad listener
        _log.exception("the listener for claimable tasks has raised")
