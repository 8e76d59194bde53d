"""Who is odd: pure judgements, and what is told to people."""

import pytest

from raftq_cluster.backends.raft.odd_one import (
    AGREES,
    ODD,
    OPEN,
    Difference,
    judge,
    report_text,
    sentence,
)

THREE = ("n1", "n2", "n3")


@pytest.mark.parametrize(
    ("said", "leader", "is_over", "verdict"),
    [
        ({"n1": 1, "n2": 1}, "n2", False, (AGREES, True)),
        ({"n1": 1, "n2": 2, "n3": 2}, "n1", False, (ODD, True)),  # it may be the leader
        ({"n1": 1, "n2": 2}, "n2", False, (OPEN, False)),  # n3 may still be heard
        ({"n1": 1, "n2": 2}, "n2", True, (ODD, False)),
        ({"n1": 1, "n2": 2}, "n1", True, (AGREES, False)),
        ({"n1": 1, "n2": 2}, "", True, (OPEN, False)),
        ({"n1": 1, "n2": 2}, "n3", True, (OPEN, False)),  # the leader has not said
        ({"n1": 1, "n2": 2, "n3": 3}, "n3", False, (ODD, False)),  # all have said
        ({"n1": 1, "n2": 2, "n3": 3}, "n1", False, (AGREES, False)),
    ],
)
def test_a_majority_is_right_and_else_the_leader_if_nothing_more_can_be_heard(
    said, leader, is_over, verdict
):
    assert judge("n1", said, THREE, leader, is_over=is_over) == verdict


def test_a_learner_is_judged_and_does_not_judge():
    said = {"n4": 9, "n1": 1, "n2": 1}
    assert judge("n4", said, THREE, "n1", is_over=False) == (ODD, True)
    said = {"n1": 1, "n4": 9, "n5": 9, "n6": 9}
    assert judge("n1", said, THREE, "n1", is_over=True) == (AGREES, False)


@pytest.mark.parametrize("voters", [(), ("n9",)])
def test_a_node_without_voters_knows_nothing(voters):
    assert judge("n1", {"n1": 1}, voters, "", is_over=True) == (OPEN, False)


def test_two_of_four_are_no_majority():
    said = {"n1": 1, "n2": 1, "n3": 2, "n4": 2}
    assert judge("n3", said, ("n1", "n2", "n3", "n4"), "n1", is_over=False) == (ODD, False)


def test_the_report_names_everyone_and_what_to_do():
    difference = Difference(
        "digest", 42, {"n1": "aa", "n2": "bb", "n4": "aa"}, THREE, "n1", is_by_majority=False
    )
    text = report_text("n2", "c1", difference)
    assert "node n2 of cluster c1" in text
    assert "entry    = 42" in text
    assert "n1  aa  voter\n" in text
    assert "n2  bb  voter   <- this node\n" in text
    assert "n3  said nothing" in text
    assert "n4  aa  learner" in text
    assert "No majority" in text
    assert "raftq cluster replace n2" in text
    assert "No majority" not in report_text("n2", "c1", difference._replace(is_by_majority=True))
    assert sentence("n2", difference, "/d/r").count("\n") == 0
    assert "/d/r" in sentence("n2", difference, "/d/r")
