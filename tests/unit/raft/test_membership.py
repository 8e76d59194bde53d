"""Which member list may follow which."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftq_cluster.backends.raft import membership
from raftq_cluster.backends.raft.commands import MEMBERS_MAX, Member
from raftq_cluster.backends.raft.membership import (
    NOBODY,
    VOTERS_MAX,
    Add,
    Change,
    Correct,
    Listed,
    Members,
    Promote,
    Refused,
    Remove,
    View,
    acquaintances,
)


def voter(node_id: str) -> Member:
    return Member(node_id, f"{node_id}:1", voter=True, birth=f"birth of {node_id}")


def learner(node_id: str, *, is_joining: bool = True) -> Member:
    return voter(node_id)._replace(voter=False, is_joining=is_joining)


ONE = (voter("n1"),)
THREE = (voter("n1"), voter("n2"), voter("n3"))
WITH_LEARNER = (*THREE, learner("n4"))


def view(*live: str, caught_up: tuple[str, ...] | None = None) -> View:
    others = frozenset(live)
    up = others if caught_up is None else frozenset(caught_up)
    return View(me="n1", is_leader=True, is_settled=True, live=others, caught_up=up)


def changed(current: Members, change: Change) -> Members:
    found = membership.next_members(current, change)
    assert not isinstance(found, Refused)
    return found


def refusal(current: Members, change: Change) -> str:
    found = membership.next_members(current, change)
    assert isinstance(found, Refused)
    return found.detail


def guard(current: Members, change: Change, seen: View) -> str:
    refused = membership.why_not(current, changed(current, change), seen)
    return "" if refused is None else refused.detail


# --- what a change makes of a list ----------------------------------------------------------------


def test_a_new_member_is_a_learner_in_its_place() -> None:
    assert changed((voter("a"), voter("c")), Add(voter("b"))) == (
        voter("a"),
        learner("b", is_joining=False),
        voter("c"),
    )


def test_who_is_added_twice_is_added_once() -> None:
    assert changed(WITH_LEARNER, Add(learner("n4"))) == WITH_LEARNER
    assert changed(THREE, Add(learner("n3"))) == THREE


def test_a_name_with_another_data_directory_is_refused() -> None:
    wiped = learner("n3")._replace(birth="another")
    assert "remove it first, or choose another node id" in refusal(THREE, Add(wiped))


def test_an_address_belongs_to_one_member() -> None:
    assert refusal(THREE, Add(learner("n4")._replace(peer="n2:1"))) == (
        "n2:1 is the address of node n2: remove that one first"
    )


def test_a_promoted_learner_votes_and_joins_no_longer() -> None:
    assert changed(WITH_LEARNER, Promote("n4")) == (*THREE, voter("n4"))
    assert changed(THREE, Promote("n2")) == THREE


def test_a_removed_member_is_gone() -> None:
    assert changed(THREE, Remove("n2")) == (voter("n1"), voter("n3"))


@pytest.mark.parametrize("change", [Promote("n9"), Remove("n9"), Correct("n9", "h:1", "")])
def test_who_is_not_a_member_cannot_be_changed(change: Change) -> None:
    found = membership.next_members(THREE, change)
    assert found == Refused("member_not_found", "node n9 is not a member of this cluster")


def test_a_members_address_can_be_corrected() -> None:
    moved = voter("n2")._replace(peer="elsewhere:1")
    assert changed(THREE, Correct("n2", "elsewhere:1", moved.birth)) == (
        voter("n1"),
        moved,
        voter("n3"),
    )


def test_an_old_record_gets_its_birth_once_and_no_other_later() -> None:
    old = (Member("n1", "", voter=True),)
    born = changed(old, Correct("n1", "n1:1", "b"))
    assert born == (Member("n1", "n1:1", voter=True, birth="b"),)
    assert "another data directory" in refusal(born, Correct("n1", "n1:1", "c"))


# --- the guard --------------------------------------------------------------------------------------


def test_a_leader_of_three_may_remove_add_and_promote() -> None:
    all_live = view("n2", "n3", "n4")
    assert guard(THREE, Remove("n3"), all_live) == ""
    assert guard(THREE, Add(learner("n4")), view("n2", "n3")) == ""
    assert guard(WITH_LEARNER, Promote("n4"), all_live) == ""
    assert guard(THREE, Correct("n2", "h:1", "birth of n2"), all_live) == ""


def test_only_a_leader_changes_members() -> None:
    follower = view("n2", "n3")._replace(is_leader=False)
    assert guard(THREE, Remove("n3"), follower) == "this node does not lead"


def test_a_change_waits_for_the_one_before_it() -> None:
    unsettled = view("n2", "n3")._replace(is_settled=False)
    refused = membership.why_not(THREE, THREE[:2], unsettled)
    assert refused == Refused("unavailable", "the last change of the members is still under way")


@pytest.mark.parametrize(
    "proposed",
    [THREE, (voter("n1"),), (*THREE, learner("n4"), learner("n5")), (*THREE, voter("n3"))],
)
def test_exactly_one_member_differs(proposed: Members) -> None:
    refused = membership.why_not(THREE, proposed, view("n2", "n3", "n4", "n5"))
    assert refused == Refused("change_refused", "members change one at a time")


def test_a_leader_neither_removes_itself_nor_the_last_voter() -> None:
    assert "the leader stays a voter" in guard(THREE, Remove("n1"), view("n2", "n3"))
    assert "the leader stays a voter" in guard(ONE, Remove("n1"), view())


def test_a_dead_member_can_be_removed_and_the_living_one_then_cannot() -> None:
    n3_is_dead = view("n2")
    assert guard(THREE, Remove("n3"), n3_is_dead) == ""
    assert guard(THREE, Remove("n2"), n3_is_dead) == (
        "only 1 of the 2 voters that there would be can be reached, and 2 are needed:"
        " bring back or remove another one first"
    )


def test_a_learner_that_cannot_be_reached_does_not_become_a_voter_that_is_needed() -> None:
    two = (voter("n1"), learner("n2"))
    assert "only 1 of the 2 voters" in guard(two, Promote("n2"), view())


def test_a_new_voter_has_caught_up() -> None:
    behind = view("n2", "n3", "n4", caught_up=("n2", "n3"))
    assert guard(WITH_LEARNER, Promote("n4"), behind) == (
        "node n4 has not caught up with the log yet"
    )


def test_voters_and_members_are_bounded() -> None:
    names = [f"n{number}" for number in range(1, MEMBERS_MAX + 1)]
    seen = view(*names)
    seven = tuple(voter(name) for name in names[:VOTERS_MAX])
    assert "at most 7 voters" in guard((*seven, learner("n8")), Promote("n8"), seen)
    full = (voter("n1"), *(learner(name) for name in names[1:]))
    assert "at most 64 members" in guard(full, Add(learner("x")), seen)


_NAMES = [f"n{number}" for number in range(1, 8)]
_CHANGES = st.one_of(
    st.builds(Add, st.sampled_from(_NAMES).map(learner)),
    st.builds(Promote, st.sampled_from(_NAMES)),
    st.builds(Remove, st.sampled_from(_NAMES)),
    st.sampled_from(_NAMES).map(lambda name: Correct(name, f"{name}:2", f"birth of {name}")),
)


def _majorities(members: Members) -> list[frozenset[str]]:
    names = membership.voters(members)
    needed = membership.majority_of(len(names))
    return [frozenset(some) for some in combinations(sorted(names), needed)]


@given(st.lists(_CHANGES, max_size=12), st.sets(st.sampled_from(_NAMES)))
def test_majorities_of_consecutive_lists_always_meet(changes: list[Change], live: set[str]) -> None:
    current: Members = ONE
    for change in changes:
        proposed = membership.next_members(current, change)
        if isinstance(proposed, Refused) or membership.why_not(current, proposed, view(*live)):
            continue
        for before in _majorities(current):
            assert all(before & after for after in _majorities(proposed))
        living = membership.voters(proposed) & (live | {"n1"})
        assert len(living) >= membership.majority_of(len(membership.voters(proposed)))
        assert "n1" in membership.voters(proposed)
        assert [member.id for member in proposed] == sorted({member.id for member in proposed})
        current = proposed


# --- who may be a peer ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "why"),
    [
        (("c", "n2", "birth of n2"), ""),
        (("d", "n2", "birth of n2"), "node n2 belongs to cluster d, this is cluster c"),
        (("", "n2", "birth of n2"), "node n2 belongs to no cluster yet, this is cluster c"),
        (("c", "n9", "birth of n9"), "node n9 is not a member of cluster c"),
        (
            ("c", "n2", "another"),
            membership.lost_past("n2", "c"),
        ),
    ],
)
def test_a_peer_is_of_this_cluster_and_of_the_birth_that_its_member_has(
    peer: tuple[str, str, str], why: str
) -> None:
    assert membership.why_not_admit("c", THREE, peer) == why


def test_a_newcomer_does_not_forget_the_leader_while_it_reads_old_lists() -> None:
    first = Listed((voter("n1"), voter("n3"), learner("n4")), 9)
    on_its_way = acquaintances([Listed((voter("n1"), voter("n2")), 5)], first, NOBODY)
    assert [member.id for member in on_its_way] == ["n1", "n2", "n3", "n4"]
    assert acquaintances([Listed(THREE, 9)], first, NOBODY) == THREE


def test_a_list_that_may_not_be_committed_adds_members_and_changes_none() -> None:
    other = Member("n1", "elsewhere:1", voter=True, birth="another")
    rumoured = Listed((other, voter("n4")), 12)
    known = acquaintances([Listed(THREE, 9)], NOBODY, rumoured)
    assert known == (*THREE, voter("n4"))
    assert acquaintances([Listed(THREE, 12)], NOBODY, rumoured) == THREE


def test_who_is_removed_by_a_list_that_may_be_cut_is_known_until_it_is_committed() -> None:
    moved = THREE[1]._replace(peer="elsewhere:2")
    lists = [Listed(THREE, 9), Listed((moved, THREE[2]), 12)]
    assert acquaintances(lists, NOBODY, NOBODY) == (THREE[0], moved, THREE[2])
    assert acquaintances(lists[1:], NOBODY, NOBODY) == (moved, THREE[2])
