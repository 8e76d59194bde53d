"""Settings: which pattern decides, pausing, and when changes take effect."""

import pytest
from tests.support.task_table import TaskTable, claim, configure

from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core import settings as settings_table
from raftq_cluster.core.outcomes import Refused, SettingsRow


def lease_ms(table: TaskTable, queue: str) -> int:
    table.insert(queue)
    return table.claim_one(queue, lease_ms=0).at - table.now_ms


def test_the_name_decides_before_any_prefix_and_a_longer_prefix_before_a_shorter() -> None:
    table = TaskTable()
    for pattern, ms in (("*", 1), ("/a/b", 4), ("/a*", 2), ("/a/b*", 3)):
        table.configure(pattern, lease_ms=ms)
    queues = ("/x", "/a", "/ab", "/a/b/c", "/a/b")
    assert [lease_ms(table, queue) for queue in queues] == [1, 2, 2, 3, 4]


def test_each_field_is_decided_by_the_most_specific_pattern_that_has_it() -> None:
    table = TaskTable()
    table.configure("*", order="fifo", paused=True, lease_ms=9)
    table.configure("/a*", order="priority")
    table.configure("/a", paused=False)
    stats = {}
    for queue in ("/a", "/ab", "/b"):
        table.insert(queue)
        stats[queue] = (table.stats(queue).order, table.stats(queue).paused)
    assert stats == {"/a": ("priority", False), "/ab": ("priority", True), "/b": ("fifo", True)}
    assert lease_ms(table, "/a") == 9


def test_a_name_that_ends_in_a_star_is_matched_as_itself_and_as_a_prefix() -> None:
    table = TaskTable()
    table.configure("/a*", lease_ms=5)
    assert [lease_ms(table, queue) for queue in ("/a*", "/a", "/b")] == [5, 5, 60_000]


def test_settings_are_replaced_whole_and_removed_by_having_no_field() -> None:
    table = TaskTable()
    table.configure("/b", paused=True)
    table.configure("/a", order="fifo", lease_ms=5)
    table.configure("/a", lease_ms=7)
    rows = [SettingsRow("/a", None, None, 7), SettingsRow("/b", None, True, None)]
    assert table.ask(queries.AllSettings()) == rows
    table.configure("/a")
    table.configure("/none")
    assert table.ask(queries.AllSettings()) == rows[1:]


def test_settings_of_other_patterns_leave_a_queue_alone() -> None:
    table = TaskTable()
    table.insert("/a")
    table.configure("/a", paused=True)
    for pattern in ("/ab", "/a/*", "a*", "/a*"):
        table.configure(pattern, paused=False)
        assert table.stats("/a").paused
    table.configure("/a")
    assert not table.stats("/a").paused


def test_a_paused_queue_gives_nothing_and_takes_everything() -> None:
    table = TaskTable()
    table.insert("/a", "before")
    held = table.claim_one("/a")
    table.configure("/a", paused=True)
    table.insert("/a", "after")
    assert table.ready == {}
    assert table.claim("/a", "/b", limit=9) == ()
    assert not table.machine.claimable(("/a",), table.now_ms)
    table.change(held, arrival=op.DELAY)
    assert table.ready == {}
    assert (table.stats("/a").ready, table.stats("/a").paused) == (2, True)


def test_a_paused_queue_does_not_hide_the_others_of_a_claim() -> None:
    table = TaskTable()
    table.insert("/a")
    table.insert("/b", "b")
    table.configure("/a", paused=True)
    assert [row.id for row in table.claim("/a", "/b", limit=9)] == ["b"]


def test_tasks_of_a_paused_queue_arrive_in_it_and_are_offered_when_it_goes_on() -> None:
    table = TaskTable()
    table.configure("/a", paused=True)
    table.insert("/a")
    table.insert("/a", arrival=op.DELAY, ms=1_000)
    table.pass_ms(1_000)
    assert (table.ready, table.stats("/a").ready) == ({}, 2)
    table.configure("/a", paused=False)
    assert table.ready == {"/a": 2}
    assert len(table.claim("/a", limit=9)) == 2


def test_a_queue_that_was_not_paused_offers_nothing_anew() -> None:
    table = TaskTable()
    table.insert("/a")
    table.configure("/a", lease_ms=5)
    assert table.ready == {}
    table.configure("/a", paused=True)
    table.configure("/a", paused=True, lease_ms=6)
    assert table.ready == {}


def test_an_empty_queue_that_goes_on_offers_nothing() -> None:
    table = TaskTable()
    table.insert("/a")
    table.claim_one("/a")
    table.configure("/a", paused=True)
    table.configure("/a", paused=False)
    assert table.ready == {}


def test_a_queue_made_by_an_insert_or_a_move_follows_settings_made_before() -> None:
    table = TaskTable()
    table.configure("/a", order="fifo")
    table.configure("/b", order="priority")
    row = table.insert("/a")
    assert table.stats("/a").order == "fifo"
    table.change(row, queue="/b")
    assert table.stats("/b").order == "priority"


def test_there_is_a_limit_to_patterns_and_known_ones_can_still_be_changed_and_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings_table, "PATTERNS_MAX", 2)
    table = TaskTable()
    table.configure("/a", lease_ms=5)
    table.configure("/b", lease_ms=5)
    refused = table.do(configure("/c", lease_ms=5))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.limit_name) == ("store_full", "settings_max")
    table.configure("/a", lease_ms=6)
    table.configure("/b")
    table.configure("/c", lease_ms=5)
    assert [row.pattern for row in table.ask(queries.AllSettings())] == ["/a", "/c"]


def test_a_refused_setting_can_be_retried_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """``store_full`` is retryable: its answer must not be kept."""
    monkeypatch.setattr(settings_table, "PATTERNS_MAX", 1)
    table = TaskTable()
    table.configure("/a", lease_ms=5)
    assert isinstance(table.do(configure("/b", lease_ms=5, key="k")), Refused)
    table.configure("/a")
    table.configure("/none")
    assert not isinstance(table.do(configure("/b", lease_ms=5, key="k")), Refused)


def test_a_claim_of_a_paused_queue_with_a_key_is_not_remembered() -> None:
    table = TaskTable()
    table.insert("/a")
    table.configure("/a", paused=True)
    table.do(claim("/a", key="k"))
    table.configure("/a", paused=False)
    assert len(table.do(claim("/a", key="k")).tasks) == 1
