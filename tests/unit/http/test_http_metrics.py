"""A scrape stays bounded, whatever callers do."""

from dataclasses import replace

from raftq_cluster.backends.api import Load, MemberStatus, Status
from raftq_cluster.core.outcomes import QueueStats
from raftq_cluster.observability.metrics import (
    OTHER_QUEUES,
    QUEUES_SHOWN_MAX,
    Metrics,
    Reading,
    Sweeps,
)

STATUS = Status("c", "n1", "memory", "memory", 1, "n1", 7, ready=True, members=())


def queue(name: str, tasks: int) -> QueueStats:
    return QueueStats(name, tasks, tasks, 0, 0, 0, None, "random", False)


def exposition(*queues: QueueStats) -> list[str]:
    reading = Reading(Load(0, 0, 0, 0), STATUS, queues, waiting=0, connections=0, now_ms=0)
    return Metrics("1").render(reading, "")[0].decode().splitlines()


def test_the_largest_queues_are_shown_and_the_others_in_one_series() -> None:
    small = [queue(f"/small/{number}", 2) for number in range(50)]
    large = [queue(f"/large/{number}", 9) for number in range(QUEUES_SHOWN_MAX)]
    lines = exposition(*small, *large)
    ready = [line for line in lines if line.startswith("raftq_queue_tasks{") and "ready" in line]
    assert len(ready) == QUEUES_SHOWN_MAX + 1
    assert f'raftq_queue_tasks{{queue="{OTHER_QUEUES}",state="ready"}} 100.0' in ready
    assert not [line for line in ready if "/small/" in line]


def test_no_series_stands_for_others_where_there_are_none() -> None:
    assert not [line for line in exposition(queue("/a", 1)) if OTHER_QUEUES in line]


def test_a_queue_may_have_any_name() -> None:
    lines = exposition(queue('a"b\\c', 1))
    assert 'raftq_queue_tasks{queue="a\\"b\\\\c",state="ready"} 1.0' in lines


def test_comparisons_with_other_nodes_are_counted() -> None:
    me = MemberStatus("n1", "leader", "", "", "", 7, 0, 0, "1", verified=5)
    status = replace(STATUS, members=(me,), comparisons=3)
    reading = Reading(Load(0, 0, 0, 0), status, [], waiting=0, connections=0, now_ms=0)
    lines = Metrics("1").render(reading, "")[0].decode().splitlines()
    assert "raftq_verified_index 5.0" in lines
    assert "raftq_state_comparisons_total 3.0" in lines


def test_what_was_collected_is_counted() -> None:
    sweeps = Sweeps(tasks=5, docs=2, malformed=1, sweeps=3, seconds=0.5)
    reading = Reading(
        Load(0, 0, 0, 0), STATUS, [], waiting=0, connections=0, now_ms=0, sweeps=sweeps
    )
    lines = Metrics("1").render(reading, "")[0].decode().splitlines()
    assert 'raftq_gc_deleted_total{kind="task"} 5.0' in lines
    assert 'raftq_gc_deleted_total{kind="doc"} 2.0' in lines
    assert "raftq_gc_malformed 1.0" in lines
    assert "raftq_gc_sweeps_total 3.0" in lines
    assert "raftq_gc_sweep_seconds_total 0.5" in lines


def test_the_age_of_a_task_that_has_just_arrived_is_not_negative() -> None:
    early = QueueStats("/a", 1, 1, 0, 0, 0, 5_000, "random", False)
    assert 'raftq_queue_oldest_ready_age_seconds{queue="/a"} 0.0' in exposition(early)


def test_a_reading_is_not_shown_twice() -> None:
    metrics = Metrics("1")
    full = Reading(Load(5, 0, 0, 0), STATUS, [queue("/a", 5)], waiting=0, connections=0, now_ms=0)
    empty = Reading(Load(0, 0, 0, 0), STATUS, [], waiting=0, connections=0, now_ms=0)
    assert b"/a" in metrics.render(full, "")[0]
    assert b"/a" not in metrics.render(empty, "")[0]
