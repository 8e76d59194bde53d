"""A primary and a standby that streams from it, through a proxy that can cut the stream.

The standby begins as a copy of the primary's folder. Commits are acknowledged by both (``is_synchronous``), or by the
primary alone.
"""

import subprocess
from types import TracebackType
from typing import Final, Self

import asyncpg

from raftq_cluster.backends.postgres import schema
from raftq_cluster.backends.postgres.connecting import Place
from tests.support.cutting_proxy import CuttingProxy
from tests.support.postgres_server import PostgresServer

SETTINGS: Final = {"fsync": "on", "shared_buffers": "32MB", "wal_receiver_status_interval": "1s"}
_BEHIND: Final = """
SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), -1)::bigint FROM pg_stat_replication
WHERE state = 'streaming'
"""


class PostgresPair:
    """Two servers; ``place`` names both. For the loop that entered it."""

    def __init__(self, *, is_synchronous: bool, name: str = "raftq") -> None:
        self._is_synchronous = is_synchronous
        self._schema = name
        self.primary = PostgresServer(dict(SETTINGS))
        self.standby = PostgresServer(dict(SETTINGS))

    @property
    def place(self) -> Place:
        ports = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        return Place(f"postgresql://raftq@{ports}/postgres", self._schema)

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            self._remove()
            raise
        return self

    async def _start(self) -> None:
        self.primary.start()
        connection = await asyncpg.connect(self.primary.dsn)
        await schema.migrate(connection, self._schema, init=True)
        await connection.close()
        self.primary.stop()
        copied = ("cp", "-a", str(self.primary.folder / "data"), str(self.standby.folder))
        subprocess.run(copied, check=True, timeout=30)
        signal_file = self.standby.folder / "data" / "standby.signal"
        subprocess.run(
            ("cp", "-a", str(self.primary.folder / "data" / "PG_VERSION"), str(signal_file)),
            check=True,
        )
        self.proxy = await CuttingProxy(self.primary.port).__aenter__()
        self.standby.settings["primary_conninfo"] = (
            f"host=127.0.0.1 port={self.proxy.port} user=raftq application_name=standby"
        )
        if self._is_synchronous:
            self.primary.settings["synchronous_standby_names"] = "standby"
        self.primary.start()
        self.standby.start()
        await self.catch_up()

    async def catch_up(self) -> None:
        """Wait until the standby has replayed everything."""
        connection = await asyncpg.connect(self.primary.dsn)
        while await connection.fetchval(_BEHIND) != 0:
            await connection.execute("SELECT pg_sleep(0.02)")
        await connection.close()

    def cut_off(self) -> None:
        """Let the standby receive nothing any more."""
        self.proxy.refuses = True
        self.proxy.hang_up()

    async def promote(self) -> None:
        """Make the standby the primary."""
        connection = await asyncpg.connect(self.standby.dsn)
        assert await connection.fetchval("SELECT pg_promote(true, 30)")
        await connection.close()

    def _remove(self) -> None:
        self.standby.remove()
        self.primary.remove()

    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._remove()
        await self.proxy.__aexit__(type_, error, tb)
