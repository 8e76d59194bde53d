"""Whole states on their way from one store to another: what tests of export and import say in a line."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from raftq_cluster.core import importing
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.moving import Parts
from raftq_cluster.core.operations import IMPORT, Import
from raftq_cluster.core.snapshot import HEAD, Record

FILE_ID = "f" * 32


class Cut:
    """A state cut into parts. Also an ``Incoming``."""

    def __init__(self, chunks: Iterable[Iterable[Record]], id_: str = FILE_ID) -> None:
        cutter = Parts()
        self.id = id_
        self.seq = 0
        self.cut: list[list[Record]] = []
        for chunk in chunks:
            for record in chunk:
                if record[0] == HEAD:
                    self.seq = record[4]
                self.cut += filter(None, [cutter.add(record)])
        self.cut += filter(None, [cutter.rest()])
        self.counts = cutter.counts
        self.said = cutter.digest

    async def parts(self) -> AsyncIterator[list[Record]]:
        for part in self.cut:
            yield part

    def digest(self) -> str:
        return self.said

    def steps(self) -> list[Import]:
        """All operations of its import."""
        return [begin(self), *self.part_steps(), end(self)]

    def part_steps(self) -> list[Import]:
        return [part(self, number) for number in range(len(self.cut))]


def cut(machine: Machine, id_: str = FILE_ID) -> Cut:
    return Cut(machine.snapshot(3), id_)


def begin(state: Cut) -> Import:
    return Import(IMPORT, importing.BEGIN, state.id, state.seq)


def part(state: Cut, number: int, records: Sequence[Any] | None = None) -> Import:
    found = state.cut[number] if records is None else records
    return Import(IMPORT, importing.PART, state.id, number, tuple(found))


def end(state: Cut) -> Import:
    return Import(IMPORT, importing.END, state.id, len(state.cut))


def abandon() -> Import:
    return Import(IMPORT, importing.ABANDON, "")
