"""Listings and statistics: what queries answer. Cases 3, 10-12 and 31-36 of EntroQ's."""

import pytest
from tests.support.task_table import START_MS, TaskTable

from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.outcomes import QueueStats

NAMES = ("/a/one", "/a/two", "/b/key=value", "/c")


def filled() -> TaskTable:
    """One task in the first queue, two in the second, …"""
    table = TaskTable()
    for number, name in enumerate(NAMES, start=1):
        for _ in range(number):
            table.insert(name)
    return table


def counts(rows: list[QueueStats]) -> dict[str, int]:
    return {row.name: row.tasks for row in rows}


def test_queues_are_listed_by_name_with_their_counts() -> None:
    assert [(row.name, row.tasks) for row in filled().queues()] == [
        ("/a/one", 1), ("/a/two", 2), ("/b/key=value", 3), ("/c", 4),
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_an_exact_name_lists_that_queue_alone(name: str) -> None:
    assert counts(filled().queues(names=[name])) == {name: NAMES.index(name) + 1}


def test_of_several_names_those_that_exist_are_listed() -> None:
    assert counts(filled().queues(names=["/c", "/none", "/a/one"])) == {"/a/one": 1, "/c": 4}


def test_a_prefix_lists_all_that_begin_with_it() -> None:
    assert counts(filled().queues("/a")) == {"/a/one": 1, "/a/two": 2}


def test_prefixes_and_names_are_alternatives() -> None:
    assert set(counts(filled().queues("/b", "/a/t", names=["/c"]))) == set(NAMES[1:])


def test_a_prefix_that_nothing_begins_with_lists_nothing() -> None:
    assert filled().queues("/x") == []


@pytest.mark.parametrize("limit", [0, 2, 4, 9])
def test_the_limit_bounds_the_queues_and_keeps_the_first_names(limit: int) -> None:
    assert [row.name for row in filled().queues(limit=limit)] == list(NAMES[:limit])


def test_a_queue_that_is_empty_again_is_not_listed() -> None:
    table = TaskTable()
    table.delete(table.insert("/a"))
    assert table.queues() == []
    assert table.queues(names=["/a"]) == []


def test_a_queue_that_has_settings_only_is_not_listed() -> None:
    table = TaskTable()
    table.configure("/a", paused=True)
    assert table.queues(names=["/a"]) == []


def test_statistics_tell_ready_claimed_and_delayed_apart() -> None:
    table = TaskTable()
    table.insert("/a")
    table.insert("/a")
    assert table.stats("/a") == QueueStats(
        "/a", 2, 2, 0, 0, 0, table.stats("/a").oldest_ready_at, "random", False
    )
    table.insert("/a", arrival=op.DELAY, ms=9_000)
    table.claim_one("/a")
    stats = table.stats("/a")
    assert (stats.tasks, stats.ready, stats.claimed, stats.delayed) == (3, 1, 1, 1)
    assert stats.max_claims == 1


def test_the_largest_claim_count_follows_claims_moves_and_deletions() -> None:
    table = TaskTable()
    table.insert("/a", "often")
    table.insert("/b", "once")
    for _ in range(3):
        row = table.claim_one("/a")
        row = table.change(row, arrival=op.DELAY)
    table.claim_one("/b")
    assert [table.stats(name).max_claims for name in ("/a", "/b")] == [3, 1]
    row = table.change(row, queue="/b")
    assert table.stats("/b").max_claims == 3
    table.delete(row)
    assert table.stats("/b").max_claims == 1


def test_a_held_task_given_back_later_counts_as_delayed() -> None:
    table = TaskTable()
    table.insert("/a")
    table.change(table.claim_one("/a"), arrival=op.DELAY, ms=5_000)
    stats = table.stats("/a")
    assert (stats.ready, stats.claimed, stats.delayed) == (0, 0, 1)


def test_the_age_of_the_oldest_ready_task_is_told_to_about_a_second() -> None:
    table = TaskTable()
    assert table.insert("/a", "old").at == START_MS
    table.now_ms += 60_000
    table.insert("/a", "young")
    oldest = table.stats("/a").oldest_ready_at
    assert oldest is not None
    assert START_MS - 1_024 < oldest <= START_MS
    table.delete(table.task("old"))
    oldest = table.stats("/a").oldest_ready_at
    assert oldest is not None
    assert table.now_ms - 1_024 < oldest <= table.now_ms
    table.claim_one("/a")
    assert table.stats("/a").oldest_ready_at is None


def test_tasks_of_a_queue_are_those_inserted_whatever_their_state() -> None:
    table = TaskTable()
    rows = [table.insert("/a", arrival=op.DELAY, ms=ms) for ms in (0, 10, 5_000)]
    table.insert("/b")
    assert sorted(table.tasks("/a")) == sorted(rows)


def test_tasks_by_ids_come_in_the_order_asked_for_across_queues() -> None:
    table = TaskTable()
    rows = {name: table.insert(f"/{name}", name, value=name.encode()) for name in ("a", "b", "c")}
    assert table.tasks(ids=["c", "none", "a"]) == [rows["c"], rows["a"]]
    assert table.tasks("/a", ids=["c", "a"]) == [rows["a"]]


def test_values_are_left_out_on_demand_and_nothing_else() -> None:
    table = TaskTable()
    row = table.insert("/a", value=b"12")
    assert table.tasks("/a", omit_values=True) == [row._replace(value=b"")]
    assert table.tasks("/a") == [row]


def test_the_limit_bounds_what_matches_and_not_what_is_looked_at() -> None:
    table = TaskTable()
    for _ in range(5):
        table.insert("/a")
    held = table.claim_one("/a", claimant="w2")
    assert table.tasks("/a", claimant="w2", limit=1) == [held]
    assert len(table.tasks("/a", limit=3)) == 3


def test_a_claimants_tasks_are_those_under_a_live_lease() -> None:
    table = TaskTable()
    table.insert("/a")
    held = table.claim_one("/a", claimant="w2", lease_ms=1_000)
    assert table.tasks("/a", claimant="w2") == [held]
    assert table.tasks("/a", claimant="w1") == []
    assert table.tasks(claimant="w2", ids=[held.id]) == [held]
    table.pass_ms(1_000)
    assert table.tasks("/a", claimant="w2") == []
    assert table.tasks(claimant="w2", ids=[held.id]) == []


def test_neither_queue_nor_ids_lists_nothing() -> None:
    assert filled().tasks() == []


def test_time_never_goes_back() -> None:
    table = TaskTable()
    table.pass_ms(5_000)
    assert table.ask(queries.Time()) == START_MS + 5_000
    table.now_ms = START_MS
    assert table.ask(queries.Time()) == START_MS + 5_000
    table.now_ms = START_MS + 9_000
    assert table.ask(queries.Time()) == START_MS + 9_000


def test_load_counts_tasks_and_the_bytes_of_values_and_errors() -> None:
    table = TaskTable()
    row = table.insert("/a", value=b"12345", err="é!")
    assert table.machine.load() == (1, 7, 0, 0)
    row = table.change(row, value=b"1")
    assert table.machine.load() == (1, 3, 0, 0)
    table.delete(row)
    assert table.machine.load() == (0, 0, 0, 0)


def test_the_digest_can_be_asked_for() -> None:
    table = TaskTable()
    assert table.ask(queries.Digest()) == table.machine.digest()
    assert len(table.machine.digest()) == 32
