"""What a pattern in a grant reaches."""

import pytest

from raftq_cluster.core.rights import ADMIN, READ, allows, covers, touches

MINE = (("/a/*", READ), ("/b", READ | ADMIN))


@pytest.mark.parametrize(
    ("queue", "may"), [("/a/x", True), ("/a/", True), ("/a", False), ("/b", True), ("/b/x", False)]
)
def test_a_right_holds_for_the_queues_that_its_pattern_matches(queue: str, may: bool) -> None:
    assert allows(MINE, READ, queue) is may


def test_a_right_that_is_not_granted_holds_nowhere() -> None:
    assert not allows(MINE, ADMIN, "/a/x")


@pytest.mark.parametrize(
    ("pattern", "is_covered"),
    [("/a/*", True), ("/a/x*", True), ("/a/x", True), ("/a*", False), ("*", False),
     ("/b", True), ("/b*", False), ("/a", False)],
)  # fmt: skip
def test_a_grant_covers_a_pattern_if_it_reaches_all_that_the_pattern_matches(
    pattern: str, is_covered: bool
) -> None:
    assert covers(MINE, READ, pattern) is is_covered


@pytest.mark.parametrize(
    ("pattern", "is_touched"),
    [("*", True), ("/a*", True), ("/a/x*", True), ("/b*", True), ("/b", True), ("/a", False),
     ("/c*", False), ("/b/*", False)],
)  # fmt: skip
def test_a_grant_touches_a_pattern_if_one_queue_fits_both(pattern: str, is_touched: bool) -> None:
    assert touches(MINE, READ, pattern) is is_touched
