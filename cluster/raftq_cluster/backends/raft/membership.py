"""Which member lists may follow which: the rules of a cluster that changes while it serves.

Pure: lists and numbers in, lists and sentences out. One member differs between a list and the next, so
any majority of the one and any majority of the other have a node in common. Whoever proposes a list asks
``why_not`` first, at the moment of appending.

Source: Raft thesis 4.1 to 4.2; the guard on the no-op is its correction of 2015 (raft-dev, "bug in
single-server membership changes").
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from raftq_cluster.backends.raft.commands import MEMBERS_MAX, Member, Members

# A majority of seven is four: more voters make every answer slower and survive no more than is sensible.
VOTERS_MAX: Final = 7


class Refused(NamedTuple):
    """Why a change is none. ``code`` is a stable name of ``raftq.wire.codes``.

    ``may_pass``: members that cannot be reached may come back, and then it is one.
    """

    code: str
    detail: str
    may_pass: bool = False


class Add(NamedTuple):
    """A new member, as a learner; it becomes a voter by itself if ``member.is_joining``."""

    member: Member


class Promote(NamedTuple):
    """Let a learner vote."""

    id: str


class Remove(NamedTuple):
    """Let a member go."""

    id: str


class Correct(NamedTuple):
    """A member's record is to say this of its address and birth, as the member itself tells."""

    id: str
    peer: str
    birth: str


Change: TypeAlias = Add | Promote | Remove | Correct


class View(NamedTuple):
    """What a node knows at the moment in which a change is to be appended."""

    me: str
    is_leader: bool  # and has committed an entry of its own term
    is_settled: bool  # the list in force is committed
    live: frozenset[str]  # who has answered within an election timeout
    caught_up: frozenset[str]  # whose log goes as far as what is committed


def find(members: Iterable[Member], node_id: str) -> Member | None:
    """The member of this name, if there is one."""
    return next((member for member in members if member.id == node_id), None)


def voters(members: Iterable[Member]) -> frozenset[str]:
    """Ids of those who vote."""
    return frozenset(member.id for member in members if member.voter)


def has_room(members: Iterable[Member]) -> bool:
    """Whether there may be one voter more."""
    return len(voters(members)) < VOTERS_MAX


def majority_of(count: int) -> int:
    """How many of ``count`` voters are more than half."""
    return count // 2 + 1


def next_members(current: Members, change: Change) -> Members | Refused:
    """The list that a change makes of this one: sorted by id, equal if nothing is to be done."""
    return _CHANGES[type(change)](current, change)


def _add(current: Members, change: Add) -> Members | Refused:
    new = change.member._replace(voter=False)
    known = find(current, new.id)
    if known is not None and known.birth != new.birth:
        return Refused(
            "change_refused",
            f"node {new.id} is a member with another data directory: remove it first,"
            " or choose another node id",
        )
    if known is not None:
        return current
    other = next((item for item in current if item.peer and item.peer == new.peer), None)
    if other is not None:
        detail = f"{new.peer} is the address of node {other.id}: remove that one first"
        return Refused("change_refused", detail)
    return _sorted((*current, new))


def _promote(current: Members, change: Promote) -> Members | Refused:
    known = find(current, change.id)
    if known is None:
        return _not_found(change.id)
    return _with(current, known._replace(voter=True, is_joining=False))


def _remove(current: Members, change: Remove) -> Members | Refused:
    if find(current, change.id) is None:
        return _not_found(change.id)
    return tuple(member for member in current if member.id != change.id)


def _correct(current: Members, change: Correct) -> Members | Refused:
    known = find(current, change.id)
    if known is None:
        return _not_found(change.id)
    if known.birth and known.birth != change.birth:
        detail = f"node {change.id} is another data directory than the member of that name"
        return Refused("change_refused", detail)
    return _with(current, known._replace(peer=change.peer, birth=change.birth))


_CHANGES: Final[dict[type, Callable[..., Members | Refused]]] = {
    Add: _add,
    Promote: _promote,
    Remove: _remove,
    Correct: _correct,
}


def why_not(current: Members, proposed: Members, view: View) -> Refused | None:
    """Say why this list must not be appended behind that one now; None if it may."""
    for rule in _RULES:
        refused = rule(current, proposed, view)
        if refused is not None:
            return refused
    return None


def _is_ours_to_change(_current: Members, _proposed: Members, view: View) -> Refused | None:
    if not view.is_leader:
        return Refused("unavailable", "this node does not lead")
    if not view.is_settled:
        return Refused("unavailable", "the last change of the members is still under way")
    return None


def _is_one_step(current: Members, proposed: Members, _view: View) -> Refused | None:
    before = {member.id: member for member in current}
    after = {member.id: member for member in proposed}
    different = [node_id for node_id in before | after if before.get(node_id) != after.get(node_id)]
    if len(after) != len(proposed) or len(different) != 1:
        return Refused("change_refused", "members change one at a time")
    return None


def _is_in_bounds(_current: Members, proposed: Members, _view: View) -> Refused | None:
    if len(proposed) > MEMBERS_MAX:
        return Refused("change_refused", f"a cluster has at most {MEMBERS_MAX} members")
    if len(voters(proposed)) > VOTERS_MAX:
        return Refused("change_refused", f"a cluster has at most {VOTERS_MAX} voters")
    return None


def _keeps_its_leader(_current: Members, proposed: Members, view: View) -> Refused | None:
    if view.me not in voters(proposed):
        return Refused("change_refused", "the leader stays a voter: move the leadership first")
    return None


def _keeps_a_live_majority(_current: Members, proposed: Members, view: View) -> Refused | None:
    new = voters(proposed)
    live = new & (view.live | {view.me})
    needed = majority_of(len(new))
    if len(live) >= needed:
        return None
    return Refused(
        "change_refused",
        f"only {len(live)} of the {len(new)} voters that there would be can be reached,"
        f" and {needed} are needed: bring back or remove another one first",
        may_pass=True,
    )


def _has_caught_up(current: Members, proposed: Members, view: View) -> Refused | None:
    for node_id in sorted(voters(proposed) - voters(current)):
        if node_id not in view.caught_up:
            detail = f"node {node_id} has not caught up with the log yet"
            return Refused("unavailable", detail)
    return None


_RULES: Final = (
    _is_ours_to_change,
    _is_one_step,
    _is_in_bounds,
    _keeps_its_leader,
    _keeps_a_live_majority,
    _has_caught_up,
)


def why_not_admit(cluster_id: str, members: Iterable[Member], peer: tuple[str, str, str]) -> str:
    """Say why (cluster id, node id, birth) may not be a peer of these members; "" if it may."""
    their_cluster, node_id, birth = peer
    if their_cluster != cluster_id:
        theirs = f"cluster {their_cluster}" if their_cluster else "no cluster yet"
        return f"node {node_id} belongs to {theirs}, this is cluster {cluster_id}"
    known = find(members, node_id)
    if known is None:
        return f"node {node_id} is not a member of cluster {cluster_id}"
    if known.birth and known.birth != birth:
        return lost_past(node_id, cluster_id)
    return ""


def lost_past(node_id: str, cluster_id: str) -> str:
    """What is wrong with a node that comes back under its name without its data."""
    return (
        f"node {node_id} is a member of cluster {cluster_id} with another data directory: its data"
        " was lost or replaced; remove it from the cluster, and join it as a new node"
    )


def too_old(node_id: str, reads: int, log_format: int) -> str:
    """What is wrong with a node of a version before the one with which the log began to be written."""
    return (
        f"node {node_id} reads formats of the log up to {reads}, and its cluster writes format"
        f" {log_format}: start it with a newer version of raftq"
    )


class Listed(NamedTuple):
    """A member list, and the index of the entry that holds it."""

    members: Members
    entry: int


NOBODY: Final = Listed((), 0)


def acquaintances(in_log: Sequence[Listed], committed: Listed, rumoured: Listed) -> Members:
    """Whom to connect to: the members of the lists of the log, and those of newer ones that others have told of.

    ``in_log`` ends with the list in force. Those before it add the members that it would remove: until it is
    committed, one of them may lead without it, and has to be heard to say so. A node that joined starts with the list
    of a later entry (``committed``), and reads older ones on its way there. They do not end what it knows already.
    ``rumoured`` may never be committed: it adds members and changes none.
    Source: Raft thesis, 4.1: who asks for a vote need not be in the list of who votes.
    """
    entry = in_log[-1].entry
    newer = (committed,) if committed.entry > entry else ()
    rumours = (rumoured,) if rumoured.entry > entry else ()
    known = {item.id: item for listed in (*rumours, *in_log, *newer) for item in listed.members}
    return _sorted(known.values())


def _not_found(node_id: str) -> Refused:
    return Refused("member_not_found", f"node {node_id} is not a member of this cluster")


def _with(current: Members, changed: Member) -> Members:
    return tuple(changed if member.id == changed.id else member for member in current)


def _sorted(members: Iterable[Member]) -> Members:
    return tuple(sorted(members, key=_id_of))


def _id_of(member: Member) -> str:
    return member.id


def first_members(rows: Sequence[tuple[str, str, str]]) -> Members:
    """The list of a cluster that forms, of ``(id, peer, birth)``: all vote. Sorted by id."""
    return _sorted(Member(node_id, peer, voter=True, birth=birth) for node_id, peer, birth in rows)
