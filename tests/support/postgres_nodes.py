"""Nodes over a PostgreSQL that has more than one, or that fails: their clock is the database's unless a test gives one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from raftq_cluster.backends.api import Backend
from raftq_cluster.backends.postgres.backend import PostgresBackend
from raftq_cluster.backends.postgres.connecting import Place
from tests.support.backend_subjects import Subject


class PlainNode:
    """A backend as a subject wants it; neither its clock nor its life is the subject's."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def pass_ms(self, ms: int) -> None:
        raise AssertionError

    async def restarted(self) -> Any:
        raise AssertionError

    async def after_power_cut(self) -> Any:
        raise AssertionError


@asynccontextmanager
async def node_over(place: Place, **options: Any) -> AsyncIterator[Subject]:
    """One node. ``options`` are those of ``PostgresBackend``."""
    backend = PostgresBackend(place, **options)
    await backend.start()
    try:
        yield Subject(PlainNode(backend))
    finally:
        await backend.stop()


@asynccontextmanager
async def person_at(place: Place) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's connection to the same database."""
    connection = await asyncpg.connect(place.dsn)
    try:
        yield connection
    finally:
        await connection.close()
