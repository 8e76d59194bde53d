"""What members tell each other of themselves, once a second: how far they are, and where they serve.

So every node can show all members, and a client learns all addresses from any of them. Fields that are not known are
passed over: a later version may say more. What is decided by it is decided by others.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from raftq_cluster.backends.api import MemberStatus
from raftq_cluster.backends.raft.clock_board import Verdict
from raftq_cluster.backends.raft.clock_watch import ClockWatch
from raftq_cluster.backends.raft.commands import Member
from raftq_cluster.backends.raft.engine import Engine
from raftq_cluster.backends.raft.messages import Facts
from raftq_cluster.backends.raft.witnessing import Witness
from raftq_cluster.codec.formats import FIRST
from raftq_cluster.version import VERSION

FRESH_S: Final = 3.0  # for what is decided by what members say
_TEXT_MAX: Final = 300  # characters of an address or a version that are kept


class Told(NamedTuple):
    """What a member has told last."""

    applied: int
    http: str
    text: str
    version: str
    reads: int  # the highest format of the log
    is_full: bool  # its disk
    at_s: float  # of our monotonic clock


class FactsBoard:
    """What this node knows of the others. ``me`` is its id."""

    def __init__(
        self,
        engine: Engine,
        clocks: ClockWatch,
        witness: Witness,
        me: str,
        monotonic: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._witness = witness
        self._clocks = clocks
        self._me = me
        self._monotonic = monotonic
        self._told: dict[str, Told] = {}
        self._http = self._text = ""
        self.is_full = False  # this node's disk
        engine.on(Facts, self._on_facts)

    def advertise(self, http: str, text: str) -> None:
        """This node's servers listen there."""
        self._http, self._text = http, text
        self.tick()

    def tick(self) -> None:
        """Tell all other members."""
        facts = self._facts()
        for member in self._engine.members:
            if member.id != self._me:
                self._engine.send(member.id, facts)

    def greet(self, peer: str) -> None:
        """The connection to this member is new: it need not wait for its facts."""
        self._clocks.forget(peer)
        self._engine.send(peer, self._facts())

    def _facts(self) -> Facts:
        return Facts(
            {
                "applied": self._engine.core.last_applied,
                "http": self._http,
                "text": self._text,
                "version": VERSION,
                "clock": self._clocks.tell(),
                "held": self._witness.tell(),
                "reads": self._engine.reads,
                "full": self.is_full,
            }
        )

    def _on_facts(self, peer: str, facts: Facts) -> None:
        fields = facts.fields
        applied, reads = fields.get("applied"), fields.get("reads")
        self._told[peer] = Told(
            applied if isinstance(applied, int) else 0,
            _text_of(fields, "http"),
            _text_of(fields, "text"),
            _text_of(fields, "version"),
            reads if isinstance(reads, int) else FIRST,
            fields.get("full") is True,
            self._monotonic(),
        )
        self._witness.hear(peer, fields.get("held"))
        if self._clocks.hear(peer, fields.get("clock")):
            self._engine.send(peer, self._facts())

    def has_room(self, peer: str) -> bool:
        """Whether a member's disk is not full, as far as it has said."""
        told = self._told.get(peer)
        return told is None or not told.is_full

    def read_by_all(self) -> int:
        """The highest format that all members read, as they said lately; 0 if one has not."""
        since_s = self._monotonic() - FRESH_S
        others = [member.id for member in self._engine.members if member.id != self._me]
        told = [self._told.get(id_) for id_ in others]
        lately = [item.reads for item in told if item is not None and item.at_s >= since_s]
        return min([self._engine.reads, *lately]) if len(lately) == len(others) else 0

    def members(self) -> tuple[MemberStatus, ...]:
        """All members as this node knows them, in the order of the list in force."""
        commit, clocks = self._engine.core.commit_index, self._clocks.latest
        return tuple(self._status(member, commit, clocks) for member in self._engine.members)

    def _status(self, member: Member, commit: int, clocks: Verdict) -> MemberStatus:
        engine = self._engine
        if member.id == self._me:
            applied = engine.core.last_applied
            now_s, reads = self._monotonic(), engine.reads
            told = Told(applied, self._http, self._text, VERSION, reads, self.is_full, now_s)
            role = engine.core.role
        else:
            told = self._told.get(member.id) or Told(0, "", "", "", FIRST, False, float("-inf"))
            role = "leader" if member.id == engine.consensus.leader else "follower"
        since_s = self._monotonic() - told.at_s
        return MemberStatus(
            id=member.id,
            role=role if member.voter else "learner",
            peer=member.peer,
            http=told.http,
            text=told.text,
            applied=told.applied,
            lag=max(0, commit - told.applied),
            last_contact_ms=int(since_s * 1_000) if since_s < float("inf") else -1,
            version=told.version,
            clock=clocks.state_of(member.id),
            clock_offset_ms=clocks.offsets_ms.get(member.id),
        )


def _text_of(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value[:_TEXT_MAX] if isinstance(value, str) else ""
