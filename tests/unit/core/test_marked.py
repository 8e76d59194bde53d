"""Names that ask for collection: how they come, go, and have their turns."""

import pytest

from raftq_cluster.core.gc_names import MALFORMED
from raftq_cluster.core.marked import LOOKED_AT_MAX, Marked, window

HOUR_MS = 3_600_000


def marked_with(moments: dict[str, int]) -> Marked:
    marked = Marked()
    for name, from_ms in moments.items():
        marked.add(name, from_ms)
    return marked


def test_names_are_due_from_their_time_on_and_in_its_order_by_buckets() -> None:
    marked = marked_with({"late": 9 * HOUR_MS, "b": HOUR_MS, "always": 0, "c": HOUR_MS + 1})
    assert marked.due(HOUR_MS - 1, 0) == (["always"], 0)
    assert marked.due(HOUR_MS, 0) == (["always", "b"], 0)
    assert marked.due(9 * HOUR_MS, 7) == (["always", "b", "c", "late"], 7)


def test_names_that_say_no_time_are_counted_and_never_due() -> None:
    marked = marked_with({"a": MALFORMED, "b": MALFORMED, "c": 0})
    assert (marked.malformed, len(marked)) == (2, 3)
    assert marked.due(MALFORMED - 1, 0)[0] == ["c"]
    marked.remove("a", MALFORMED)
    assert (marked.malformed, len(marked)) == (1, 2)


def test_names_that_have_gone_leave_nothing_behind() -> None:
    moments = {f"n{number}": number * HOUR_MS // 7 for number in range(40)}
    marked = marked_with(moments)
    for name, from_ms in moments.items():
        marked.remove(name, from_ms)
    assert len(marked) == 0
    assert marked.tables() == []
    assert marked.due(99 * HOUR_MS, 3) == ([], 3)
    marked.add("n1", 0)
    assert marked.due(0, 0) == (["n1"], 0)


@pytest.mark.parametrize("count", [LOOKED_AT_MAX, 2 * LOOKED_AT_MAX, 2 * LOOKED_AT_MAX + 7])
def test_one_question_looks_at_so_many_names_and_all_have_their_turn(count: int) -> None:
    marked = marked_with({str(number): number * 1_000 for number in range(count)})
    rounds = -(-count // LOOKED_AT_MAX)
    seen: list[str] = []
    for turn in range(rounds):
        names, before = marked.due(count * 1_000, turn)
        assert len(names) <= LOOKED_AT_MAX
        assert before == 0
        seen += names
    assert seen == [str(number) for number in range(count)]
    assert marked.due(count * 1_000, rounds)[1] == 1


def test_each_window_of_names_meets_each_window_of_what_they_have() -> None:
    """Both counts are above the limit, and one turn serves both."""
    names = marked_with({str(number): 0 for number in range(2 * LOOKED_AT_MAX)})
    met = set()
    for turn in range(4):
        found, further = names.due(0, turn)
        first = next(window(range(2 * LOOKED_AT_MAX), 2 * LOOKED_AT_MAX, further))
        met.add((found[0], first))
    assert len(met) == 4
