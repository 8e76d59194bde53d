"""The chain: equal for equal histories, and different for ever after any difference in what came of them."""

import pytest
from tests.support.planted import planted
from tests.support.task_table import TaskTable, claim, modify, target

from raftq_cluster.core import operations as op
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.restoring import restore

CHAIN_MAX = 2**64 - 1


def pair(bug: str = "") -> tuple[TaskTable, TaskTable]:
    right, other = TaskTable(), TaskTable()
    if bug:
        other.machine = planted(bug)
    return right, other


def chains(*tables: TaskTable) -> set[int]:
    return {table.machine.chain for table in tables}


def test_every_entry_gives_another_chain_also_one_of_nothing() -> None:
    table = TaskTable()
    seen = {table.machine.chain}
    for _ in range(3):
        table.entry()
        seen.add(table.machine.chain)
    assert len(seen) == 4
    assert all(0 <= chain <= CHAIN_MAX for chain in seen)


@pytest.mark.parametrize(
    "other",
    [
        {"index": 2},
        {"now_ms": 6},
        {"seed": 8},
        {"segments": [[op.Tick()], []]},
        {"segments": [[op.Tick(), op.Tick()]]},
        {"check": 1},
    ],
    ids=lambda other: next(iter(other)),
)
def test_an_entry_that_differs_in_anything_gives_another_chain(other: dict[str, object]) -> None:
    one, two = Machine(), Machine()
    entry = {"index": 1, "now_ms": 5, "seed": 7, "segments": [[op.Tick()]], "check": 0}
    one.apply(**entry)
    two.apply(**(entry | other))
    assert one.chain != two.chain


def test_an_entry_that_is_not_for_the_machine_is_in_the_chain_by_its_place_and_its_bytes() -> None:
    machines = [Machine() for _ in range(4)]
    for machine, entry in zip(machines, [(1, 2), (1, 2), (1, 3), (2, 2)], strict=True):
        machine.pass_by(*entry)
    assert machines[0].chain == machines[1].chain
    assert len({machine.chain for machine in machines} | {0}) == 4


@pytest.mark.parametrize("seed", [2**64 - 1, 0])
@pytest.mark.parametrize("now_ms", [2**64 - 1, 0, 2**70])
def test_no_number_in_an_entry_is_too_large_for_a_link(seed: int, now_ms: int) -> None:
    machine = Machine()
    machine.apply(1, now_ms, seed, [], 2**70)
    assert 0 <= machine.chain <= CHAIN_MAX


def test_a_lost_idempotency_key_is_found_in_its_entry() -> None:
    tables = pair("loses a key")
    for table in tables:
        table.do(modify(inserts=[op.Insert("/q", "a")], key="k"))
    assert len(chains(*tables)) == 2


def test_another_choice_among_ready_tasks_is_found_in_the_entry_of_the_claim() -> None:
    tables = pair("chooses another task")
    for table in tables:
        table.insert("/q", "a")
        table.insert("/q", "b")
    assert len(chains(*tables)) == 1
    for table in tables:
        table.claim("/q")
    assert len(chains(*tables)) == 2


def test_a_skipped_expiry_is_found_in_the_entry_in_which_the_lease_ends() -> None:
    tables = pair("skips an expiry")
    for table in tables:
        table.insert("/q", "a")
        table.claim("/q", lease_ms=10)
    assert len(chains(*tables)) == 1
    for table in tables:
        table.pass_ms(5_000)
    assert len(chains(*tables)) == 2


def test_a_change_or_refusal_on_one_side_only_is_found() -> None:
    for doing in (
        modify(inserts=[op.Insert("/q", "b")]),
        modify(changes=[op.Change("a", 0, attempt=1)]),
        modify(deletes=[op.Target("a", 0)]),
        modify(depends=[op.Target("a", 1)]),
    ):
        right, other = pair()
        for table in (right, other):
            table.insert("/q", "a")
        other.machine._handlers[op.MODIFY] = planted("does not modify")._handlers[op.MODIFY]
        for table in (right, other):
            table.do(doing)
        assert len(chains(right, other)) == 2, doing


def test_two_tasks_claimed_the_other_way_round_are_found() -> None:
    tables = pair()
    for table in tables:
        for id_ in ("a", "b"):
            table.insert("/q", id_)
    tables[1].machine.queues["/q"].ready._items.reverse()
    for place, task in enumerate(tables[1].machine.queues["/q"].ready):
        task.pos = place
    for table in tables:
        table.entry(claim("/q", claimant="w1"), claim("/q", claimant="w2"))
    assert len(chains(*tables)) == 2


def test_what_is_kept_wrongly_is_for_the_digest() -> None:
    tables = pair("keeps a wrong value")
    for table in tables:
        table.insert("/q", "a", value=b"12")
    assert len(chains(*tables)) == 1
    assert tables[0].machine.digest() != tables[1].machine.digest()


def test_a_restored_machine_goes_on_with_the_chain() -> None:
    table, twin = pair()
    for one in (table, twin):
        row = one.insert("/q", "a")
        one.claim("/q")
    twin.machine = restore(table.machine.snapshot())
    assert len(chains(table, twin)) == 1
    for one in (table, twin):
        one.do(modify(deletes=[target(row)._replace(version=1)]))
        one.pass_ms(60_000)
    assert len(chains(table, twin)) == 1
