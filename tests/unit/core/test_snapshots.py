"""Snapshots: taken while the machine goes on, refused when they are not what they must be."""

import gc
from collections.abc import Callable
from itertools import chain, islice
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.task_table import TaskTable, claim, configure, modify

from raftq_cluster.core import digest
from raftq_cluster.core import operations as op
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.restoring import restore
from raftq_cluster.core.snapshot import VERSION, Record, outcome_of
from raftq_cluster.core.state import MachineError
from raftq_cluster.core.task import Task


def filled() -> TaskTable:
    """Something of everything that a state can hold."""
    table = TaskTable()
    table.configure("/b*", order="priority", lease_ms=5)
    for number in range(6):
        table.insert("/a", f"a{number}", value=b"\xff", kind=op.BYTES)
        table.insert("/b", f"b{number}", priority=number)
    table.insert("/a", "late", arrival=op.DELAY, ms=9_000)
    table.enq("q", b"1")
    table.do(claim("/a", limit=2, key="k1", mark=b"m"))
    table.do(modify(deletes=[op.Target("none", 0)], key="k2"))
    return table


RECORDS: list[Record] = list(chain.from_iterable(filled().machine.snapshot()))


def test_a_restored_machine_has_the_same_digest_and_load() -> None:
    machine = filled().machine
    restored = restore(machine.snapshot())
    assert (restored.index, restored.now_ms) == (machine.index, machine.now_ms)
    assert restored.digest() == machine.digest()
    assert restored.load() == machine.load()


def test_an_empty_machine_can_be_restored() -> None:
    assert restore(Machine().snapshot()).digest() == Machine().digest()


def test_a_snapshot_of_a_restored_machine_restores_the_same_again() -> None:
    machine = restore(filled().machine.snapshot())
    assert restore(machine.snapshot()).digest() == machine.digest()


@pytest.mark.parametrize("chunk_records", [1, 7, 10_000])
def test_chunks_hold_as_many_records_as_asked_for(chunk_records: int) -> None:
    chunks = list(filled().machine.snapshot(chunk_records))
    assert {len(chunk) for chunk in chunks[:-1]} <= {chunk_records}
    assert 0 < len(chunks[-1]) <= chunk_records
    assert list(chain.from_iterable(chunks)) == RECORDS


def test_a_snapshot_shows_the_state_of_its_index_whatever_happens_while_it_is_read() -> None:
    table = filled()
    then = table.machine.digest()
    snapshot = table.machine.snapshot(1)
    chunks = [next(snapshot), next(snapshot)]
    table.configure("/b*")
    table.delete(table.task("b1"))
    table.insert("/b", "b1", value=b"other")
    table.change(table.task("b2"), queue="/c")
    table.change(table.task("b2"), value=b"twice")
    table.claim("/a", limit=9)
    table.pass_ms(400_000)
    table.settle(op.ACK, "q", table.deq("q").serial)
    restored = restore([*chunks, *snapshot])
    assert restored.digest() == then
    assert restored.index == snapshot.index < table.machine.index


def test_a_snapshot_that_was_closed_gives_nothing_more() -> None:
    machine = filled().machine
    snapshot = machine.snapshot(1)
    snapshot.close()
    snapshot.close()
    assert list(snapshot) == []
    assert machine.keeper is None


class Reading:
    """A snapshot and a digest of the same moment, read at their own paces."""

    def __init__(self, table: TaskTable) -> None:
        self.then = table.machine.digest()
        self.snapshot = table.machine.snapshot(1)
        self.digesting = table.machine.digesting()
        self.chunks: list[list[Record]] = []

    def step(self, random: Random) -> None:
        self.chunks += islice(self.snapshot, random.randrange(4))
        if random.randrange(3) == 0:
            next(self.digesting, None)

    def check(self) -> None:
        assert restore([*self.chunks, *self.snapshot]).digest() == self.then
        list(self.digesting)
        assert self.digesting.result == self.then


@pytest.mark.parametrize("seed", range(12))
def test_any_number_of_snapshots_are_taken_at_once_each_of_its_own_moment(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "SLICE_RECORDS", 2)
    random, table = Random(seed), filled()
    readings: list[Reading] = []
    for number in range(120):
        ids = sorted(table.machine.tasks)
        row = table.task(random.choice(ids))
        doing = (
            lambda row=row: table.delete(row, claimant=row.claimant),
            lambda row=row: table.change(row, claimant=row.claimant, err=f"{random.random()}"),
            lambda number=number: table.insert("/a", f"new{number}"),
            lambda number=number: table.insert("/b", f"n{number}", priority=number % 3),
            lambda: table.claim("/a", "/b", limit=2, lease_ms=50),
            lambda: table.pass_ms(40),
        )
        random.choice(doing)()
        if len(readings) < 4 and random.randrange(6) == 0:
            readings.append(Reading(table))
        for reading in readings:
            reading.step(random)
        if readings and random.randrange(25) == 0:
            readings.pop(random.randrange(len(readings))).check()
        if readings and random.randrange(40) == 0:
            gone = readings.pop(random.randrange(len(readings)))
            gone.digesting.close()
            gone.snapshot.close()
    for reading in random.sample(readings, len(readings)):
        reading.check()
    assert table.machine.keeper is None


def test_a_slice_of_a_digest_ends_with_many_bytes() -> None:
    table = TaskTable()
    for _ in range(3):
        table.insert("/a", value=bytes(digest.SLICE_BYTES))
    digesting = table.machine.digesting()
    assert len(list(digesting)) == 3
    assert digesting.result == table.machine.digest()


def test_a_finished_snapshot_makes_room_for_the_next() -> None:
    machine = filled().machine
    first = list(machine.snapshot())
    assert list(machine.snapshot()) == first


def test_closing_a_finished_snapshot_leaves_a_later_one_alone() -> None:
    table = filled()
    first = table.machine.snapshot()
    list(first)
    second = table.machine.snapshot(1)
    head = next(second)
    first.close()
    table.delete(table.task("b0"))
    assert list(chain.from_iterable([head, *second])) == RECORDS


def test_a_snapshot_that_is_abandoned_leaves_the_next_one_right() -> None:
    table = filled()
    snapshot = table.machine.snapshot(1)
    for _ in range(6):
        next(snapshot)
    table.change(table.task("b5"), err="changed")
    snapshot.close()
    table.change(table.task("b5"), err="changed again")
    assert restore(table.machine.snapshot()).digest() == table.machine.digest()


# --- what is no snapshot ----------------------------------------------------------------------------


def without(position: int) -> list[Record]:
    return [record for number, record in enumerate(RECORDS) if number != position]


def replaced(position: int, record: Any) -> list[Any]:
    return [record if number == position else kept for number, kept in enumerate(RECORDS)]


def test_a_snapshot_of_another_version_is_refused() -> None:
    for version in (VERSION - 2, VERSION + 1):
        with pytest.raises(MachineError, match=f"version {version}"):
            restore([replaced(0, (0, version, *RECORDS[0][2:]))])


@pytest.mark.parametrize("position", range(len(RECORDS)))
def test_a_snapshot_without_any_one_of_its_records_is_refused(position: int) -> None:
    with pytest.raises(MachineError):
        restore([without(position)])


@pytest.mark.parametrize("position", range(len(RECORDS)))
def test_a_snapshot_with_any_record_twice_is_refused(position: int) -> None:
    with pytest.raises(MachineError):
        restore([[*RECORDS[: position + 1], *RECORDS[position:]]])


def test_nothing_may_follow_the_end() -> None:
    with pytest.raises(MachineError):
        restore([RECORDS, [(1, "/z", "fifo", None, None)]])


def test_no_records_are_no_snapshot() -> None:
    for chunks in ([], [[]], [[(6, 0)]]):
        with pytest.raises(MachineError):
            restore(chunks)


@pytest.mark.parametrize(
    "record", [(99,), (), 5, None, "text", (3,), (3, 1, ("x",)), ({}, 1), ([], 1)]
)
def test_what_is_no_record_is_refused(record: Any) -> None:
    with pytest.raises(MachineError):
        restore([replaced(3, record)])


def test_a_task_that_stands_in_another_queue_is_refused() -> None:
    position = next(number for number, record in enumerate(RECORDS) if record[0] == 3)
    _, seq, row = RECORDS[position]
    with pytest.raises(MachineError, match="stands where it cannot"):
        restore([replaced(position, (3, seq, row._replace(queue="/elsewhere")))])


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=8,
)  # fmt: skip


@given(st.integers(0, len(RECORDS) - 1), st.integers(0, 6), st.lists(PLAIN, max_size=7))
def test_a_malformed_record_is_refused_and_breaks_nothing_else(
    position: int, kind: int, fields: list[Any]
) -> None:
    try:
        restore([replaced(position, (kind, *fields))])
    except MachineError:
        return


def leaves(value: Any) -> int:
    return sum(map(leaves, value)) if isinstance(value, tuple) else 1


def with_leaf(value: Any, number: int, new: Any) -> Any:
    """Replace one of the plain values that a record is made of."""
    if not isinstance(value, tuple):
        return new
    fields = list(value)
    for position, field in enumerate(fields):
        if number < leaves(field):
            fields[position] = with_leaf(field, number, new)
            break
        number -= leaves(field)
    return tuple(fields)


@given(st.integers(0, len(RECORDS) - 1), st.integers(0, 20), PLAIN)
def test_a_record_with_one_other_value_is_refused_or_makes_a_machine(
    position: int, number: int, value: Any
) -> None:
    record = with_leaf(RECORDS[position], number % leaves(RECORDS[position]), value)
    try:
        machine = restore([replaced(position, record)])
    except MachineError:
        return
    assert isinstance(machine, Machine)


@given(
    st.sampled_from(["Claimed", "Modified", "Renewed", "Settled", "Done", "Refused", "Other"]),
    st.lists(PLAIN, max_size=3).map(tuple),
)
def test_an_outcome_is_read_back_or_refused(name: str, fields: tuple[Any, ...]) -> None:
    try:
        outcome = outcome_of(name, fields)
    except (TypeError, ValueError):
        return
    assert type(outcome).__name__ == name


def the_same(machine: Machine) -> Machine:
    return machine


def restored(machine: Machine) -> Machine:
    return restore(machine.snapshot())


@pytest.mark.parametrize("through", [the_same, restored])
def test_a_restored_machine_makes_the_same_choices(through: Callable[[Machine], Machine]) -> None:
    table = filled()
    table.machine = through(table.machine)
    table.now_ms += 20_000
    taken = table.do(claim("/a", "/b", "q", limit=9))
    assert [row.id for row in taken.tasks] == SAME_CHOICES


_table = filled()
_table.now_ms += 20_000
SAME_CHOICES = [row.id for row in _table.do(claim("/a", "/b", "q", limit=9)).tasks]


def test_settings_are_kept() -> None:
    table = filled()
    table.machine = restore(table.machine.snapshot())
    assert table.stats("/b").order == "priority"
    assert table.do(configure("/b*", order="fifo")) is not None
    assert table.stats("/b").order == "fifo"


def test_a_dismantled_machine_gives_its_tasks_back_without_the_collector() -> None:
    def tasks() -> int:
        return sum(isinstance(item, Task) for item in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = tasks()
        machine = filled().machine
        assert tasks() > before
        machine.dismantle()
        assert tasks() == before
    finally:
        gc.enable()


@pytest.mark.parametrize("bounds", [(0, 0), (None, 0), (5, None), (1, 9), (None, None)])
def test_bounds_of_leases_survive_whatever_they_are(bounds: tuple[int | None, int | None]) -> None:
    machine = Machine()
    head = (op.CONFIGURE_BOUNDED, "", b"", "/q*", None, True, None)
    machine.apply(1, 1_000, 1, [[op.ConfigureBounded(*head, *bounds)]])
    restored = restore(machine.snapshot(10))
    assert restored.settings.rows() == machine.settings.rows()
    assert (
        restored.settings.rows()[0].lease_ms_min,
        restored.settings.rows()[0].lease_ms_max,
    ) == bounds
