"""Export and import over PostgreSQL by nodes that vanish in the middle: nothing that they hold outlives them for long."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from tests.support.backend_subjects import KINDS, Subject
from tests.support.moves import Cut
from tests.support.postgres_server import shared_server
from tests.support.task_table import claim, modify

from raftq_cluster.backends.api import BackendError
from raftq_cluster.backends.postgres import exporting, importing
from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Claimed

pytestmark = pytest.mark.asyncio


async def filled(subject: Subject) -> None:
    inserts = [op.Insert("/a", f"t{number}") for number in range(600)]
    await subject.do(modify(inserts=inserts))


async def silence(seconds: float) -> None:
    """Let the server notice that nothing comes."""
    connection = await asyncpg.connect(shared_server().dsn)
    await connection.execute(f"SELECT pg_sleep({seconds})")
    await connection.close()


class _Silent(Cut):
    """A file whose sender is silent in the middle."""

    async def parts(self) -> AsyncIterator[Any]:
        for part in self.cut:
            yield part
            await silence(0.3)


async def test_an_import_that_hears_nothing_gives_its_lock_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importing, "IDLE_MS", 100)
    async with KINDS["memory"].open() as source, KINDS["postgres"].open() as target:
        await filled(source)
        state = _Silent([list(records) async for records in source.backend.export()])
        with pytest.raises(BackendError, match="nothing was taken in") as refused:
            await target.backend.take_in(state)
        assert refused.value.code == "unavailable"
        assert await target.do(claim("/a")) == Claimed(())


async def test_an_export_whose_reader_is_silent_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "IDLE_MS", 100)
    async with KINDS["postgres"].open() as source:
        await filled(source)
        records: Any = source.backend.export()
        await anext(records)
        await silence(0.3)
        with pytest.raises(BackendError, match="did not answer") as refused:
            async for _ in records:
                pass
        assert refused.value.code == "unavailable"
