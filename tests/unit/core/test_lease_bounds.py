"""Bounds of leases: settings of queues, and of namespaces, that claims and renewals are held to."""

import pytest
from tests.support.doc_table import DocTable, claim_docs, held
from tests.support.task_table import renew, target

from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Done, SettingsRow
from raftq_cluster.core.queries import AllSettings
from raftq_cluster.core.restoring import restore
from raftq_cluster.core.settings import Effective

WEEK_MS = 7 * 86_400_000


def bound(
    table: DocTable, pattern: str, low: int | None, high: int | None, lease_ms: int | None = None
) -> None:
    configure = op.ConfigureBounded(
        op.CONFIGURE_BOUNDED, "", b"", pattern, None, None, lease_ms, low, high
    )
    assert table.do(configure) == Done()


def granted_ms(table: DocTable, queue: str, lease_ms: int) -> int:
    table.insert(queue)
    row = table.claim_one(queue, lease_ms=lease_ms)
    return row.at - table.now_ms


@pytest.mark.parametrize(
    ("asked_ms", "low", "high", "lease_ms"),
    [
        (1, None, None, 1),
        (10 * WEEK_MS, None, None, WEEK_MS),
        (0, None, None, 60_000),
        (-1, None, None, 1_000),
        (-30_000, None, None, 30_000),
        (5_000, 10_000, None, 10_000),
        (5_000, None, 2_000, 2_000),
        (5_000, 1_000, 9_000, 5_000),
        (-1, 50, None, 50),
        (-1, None, 500, 500),
        (0, None, 7_000, 7_000),
        (0, 90_000, None, 90_000),
        (5_000, 9_000, 3_000, 3_000),
    ],
)
def test_a_lease_is_brought_within_its_bounds(
    asked_ms: int, low: int | None, high: int | None, lease_ms: int
) -> None:
    bounds = Effective(lease_ms_min=low, lease_ms_max=high)
    assert bounds.granted_ms(asked_ms) == lease_ms


def test_claims_are_held_to_the_bounds_of_their_queue() -> None:
    table = DocTable()
    bound(table, "/a*", 10_000, 20_000)
    assert granted_ms(table, "/a", 5_000) == 10_000
    assert granted_ms(table, "/a", 15_000) == 15_000
    assert granted_ms(table, "/a", 50_000) == 20_000
    assert granted_ms(table, "/b", 5_000) == 5_000
    assert granted_ms(table, "/b", -5) == 1_000
    assert granted_ms(table, "/a", 0) == 20_000  # of who names none: the queue's 60 s, cut


def test_bounds_count_for_queues_that_exist_and_those_that_come() -> None:
    table = DocTable()
    table.insert("/a", "first")
    bound(table, "/a", None, 3_000)
    assert table.claim_one("/a", lease_ms=9_000).at == table.now_ms + 3_000
    table.configure("/a")
    assert granted_ms(table, "/a", 9_000) == 9_000


def test_bounds_come_from_the_most_specific_pattern_each() -> None:
    table = DocTable()
    bound(table, "*", 2_000, 8_000)
    bound(table, "/a*", 4_000, None)
    assert granted_ms(table, "/a", 1) == 4_000
    assert granted_ms(table, "/a", 10_000) == 8_000


def test_renewals_and_touches_are_held_to_them() -> None:
    table = DocTable()
    bound(table, "/a", 10_000, 20_000)
    table.insert("/a")
    row = table.claim_one("/a")
    (row,) = table.do(renew(target(row), lease_ms=1)).renewed
    assert row.at == table.now_ms + 10_000
    (row,) = table.do(renew(target(row), lease_ms=10**6)).renewed
    assert row.at == table.now_ms + 20_000
    table.enq("/a")
    serial = table.deq("/a").serial
    assert table.settle(op.TOUCH, "/a", serial).at == table.now_ms + 20_000


def test_arrivals_and_leases_of_changes_are_free() -> None:
    table = DocTable()
    bound(table, "/a", 10_000, 20_000)
    table.insert("/a")
    row = table.claim_one("/a")
    assert table.change(row, arrival=op.LEASE, ms=90_000).at == table.now_ms + 90_000


def test_claims_of_docs_are_held_to_the_bounds_of_all_their_namespaces() -> None:
    table = DocTable()
    bound(table, "/a*", 10_000, 40_000)
    bound(table, "/b", 15_000, 20_000)
    one, other = held("k", namespace="/a"), held("k", namespace="/b")

    def until(*sets: op.SetClaim, lease_ms: int) -> int:
        rows = table.do(claim_docs(*sets, lease_ms=lease_ms)).sets
        return int(rows[0].at - table.now_ms)

    assert until(one, lease_ms=1) == 10_000
    assert until(one, other, lease_ms=1) == 15_000
    assert until(one, other, lease_ms=10**6) == 20_000
    assert until(held("k", namespace="/c"), lease_ms=1) == 1
    assert until(held("k", namespace="/c"), lease_ms=-1) == 1_000


def test_bounds_are_in_snapshots_and_in_the_digest() -> None:
    table = DocTable()
    table.configure("/b", lease_ms=5)
    before = table.machine.digest()
    bound(table, "/a", 10_000, 20_000, 15_000)
    restored = restore(table.machine.snapshot())
    assert restored.query(AllSettings(), 0) == [
        SettingsRow("/a", None, None, 15_000, 10_000, 20_000),
        SettingsRow("/b", None, None, 5),
    ]
    assert restored.digest() == table.machine.digest() != before


def test_a_configuration_without_bounds_removes_them() -> None:
    table = DocTable()
    bound(table, "/a", 10_000, None)
    table.configure("/a", paused=True)
    assert table.ask(AllSettings()) == [SettingsRow("/a", None, True, None)]
    bound(table, "/a", None, None)
    assert table.ask(AllSettings()) == []
