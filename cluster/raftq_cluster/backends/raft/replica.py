"""The state machine of this node, and who waits for what becomes of its entries.

Applies committed commands in the order of the log and tells the sinks of the segments that this
process sent. What this node has decoded already is applied from those operations, everything else from
the bytes of the log: both are the same operations. Knows nothing of disks, votes or peers.

No sink and no listener can stop it: an exception of theirs is logged and passed over. Its own
exception, :class:`ReplicaError`, means that a committed command cannot be applied; the node must stop.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final
from zlib import crc32

from raftq_cluster.backends.api import Ready, Sink
from raftq_cluster.backends.raft import commands
from raftq_cluster.backends.raft.commands import Member, Origin
from raftq_cluster.backends.raft.proposals import Segment
from raftq_cluster.codec.entries import decode_entry, decode_segment
from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.formats import FIRST, FORMATS, Formats
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.operations import Operation
from raftq_cluster.core.outcomes import Outcome, Unfinished

_log: Final = logging.getLogger(__name__)

UNAVAILABLE: Final = "unavailable"  # certainly not done
UNKNOWN: Final = "outcome_unknown"

# Chains of so many entries are remembered: of more than a second at the highest speed, while members tell each
# other theirs ten times a second. A power of two.
CHAINS_KEPT: Final = 4_096


class ReplicaError(Exception):
    """A committed entry cannot be applied: this node's state would differ from the log's."""


class Replica:
    """The machine, applied entry by entry.

    ``index`` is that of the last applied entry of any kind, ``members`` the cluster as of it.
    """

    def __init__(
        self,
        machine: Machine,
        index: int,
        members: tuple[Member, ...],
        *,
        log_format: int = FIRST,
        formats: Formats = FORMATS,
    ) -> None:
        self.formats = formats
        self.log_format = log_format
        """Of the next entry."""
        self.machine = machine
        self.index = index
        self.members = members
        self._check = 0  # of the command that is being applied
        self._chains = [0] * CHAINS_KEPT  # of the last entries, by index modulo this number
        self._chains_from = index
        self._note_chain()
        self._find: Callable[[Origin], Segment | None] = _find_nothing
        self._listener: Callable[[Ready], None] | None = None
        self._on_digest: Callable[[int], None] | None = None
        self._appliers = {
            commands.DATA: self._apply_data,
            commands.NOOP: self._apply_noop,
            commands.CONFIG: self._apply_config,
            commands.SENT: self._apply_sent,
            commands.FORMAT: self._apply_format,
        }

    def on_ready(self, listener: Callable[[Ready], None]) -> None:
        """Tell ``listener`` after each entry what became claimable by it, if only nothing."""
        self._listener = listener

    def on_digest(self, listener: Callable[[int], None]) -> None:
        """Tell ``listener`` the index of an entry that wants the state digested, right after it."""
        self._on_digest = listener

    def find_segments_with(self, find: Callable[[Origin], Segment | None]) -> None:
        """Ask ``find`` for each segment that is applied: it may be known already. Asked once."""
        self._find = find

    def replace(
        self,
        machine: Machine,
        index: int,
        members: tuple[Member, ...],
        log_format: int = FIRST,
    ) -> None:
        """Go on from another state, of a snapshot; the listener hears of all that can be claimed."""
        self.log_format = log_format
        self.machine, self.index, self.members = machine, index, members
        self._chains_from = index
        self._note_chain()
        ready = {
            name: len(queue.ready)
            for name, queue in machine.queues.items()
            if queue.ready and not queue.paused
        }
        if self._listener is not None:
            _tell_listener(self._listener, ready)

    def apply(self, index: int, command: bytes) -> None:
        """Apply the next committed command and tell its sinks.

        Raises:
            ReplicaError: it is not the next one, or the machine cannot apply it.
        """
        if index != self.index + 1:
            raise ReplicaError(f"entry {index} follows entry {self.index}")
        applier = self._appliers.get(command[0])
        if applier is None:
            raise ReplicaError(f"entry {index} is of kind {command[0]}, unknown to this version")
        self.index = index
        self._check = crc32(command)
        try:
            applier(index, command)
        except CodecError as error:
            raise ReplicaError(f"entry {index} cannot be read: {error}") from error
        self._note_chain()

    def chain_at(self, index: int) -> int | None:
        """The chain up to an entry of late; None if it is not known any more, or not yet."""
        if max(self._chains_from, self.index - CHAINS_KEPT + 1) <= index <= self.index:
            return self._chains[index % CHAINS_KEPT]
        return None

    def _note_chain(self) -> None:
        self._chains[self.index % CHAINS_KEPT] = self.machine.chain

    def _apply_noop(self, index: int, command: bytes) -> None:
        """Nothing: a leadership has begun."""

    def _apply_config(self, index: int, command: bytes) -> None:
        self.members = commands.decode_members(command[1:])
        self.machine.pass_by(index, self._check)

    def _apply_format(self, index: int, command: bytes) -> None:
        self.log_format = max(self.log_format, commands.decode_format(command))
        self.machine.pass_by(index, self._check)

    def _apply_data(self, index: int, command: bytes) -> None:
        now_ms, seed, segments = decode_entry(command[1:])
        self._apply_segments(index, now_ms, seed, segments, [None] * len(segments))

    def _apply_sent(self, index: int, command: bytes) -> None:
        origins, entry = commands.decode_sent(command)
        now_ms, seed, raw = self.formats[self.log_format].split_entry(entry)
        if len(origins) != len(raw):
            raise CodecError("not every segment has an origin")
        known = [self._find(origin) for origin in origins]
        segments = [
            decode_segment(data) if segment is None else segment.operations
            for data, segment in zip(raw, known, strict=True)
        ]
        self._apply_segments(index, now_ms, seed, segments, known)

    def _apply_segments(
        self,
        index: int,
        now_ms: int,
        seed: int,
        segments: Sequence[Sequence[Operation]],
        known: Sequence[Segment | None],
    ) -> None:
        own = [segment for segment in known if segment is not None and segment.is_own]
        try:
            applied = self.machine.apply(index, now_ms, seed, segments, self._check)
        except Exception as error:  # whatever it is: the state may be half changed
            abandon(own, index, UNKNOWN, "the node has stopped")
            raise ReplicaError(f"entry {index} cannot be applied: {error!r}") from error
        if applied.wants_digest and self._on_digest is not None:
            self._on_digest(index)
        for segment, outcomes in zip(known, applied.outcomes, strict=True):
            if segment is not None and segment.is_own:
                tell(segment.sink, index, outcomes)
        if self._listener is not None:
            _tell_listener(self._listener, applied.ready)


def _find_nothing(_origin: Origin) -> None:
    """No segment is known before it is applied."""


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
