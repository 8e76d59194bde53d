"""A proxy before a PostgreSQL server that can hang up at the moment that hurts most: after a commit, before its answer.

async with CuttingProxy(port) as proxy:
    proxy.cut_after(b"COMMIT")      # the server is told, the client never hears
"""

import asyncio
from types import TracebackType
from typing import Self

PIECE_BYTES = 1 << 16


class CuttingProxy:
    """Listens on loopback; every connection goes to the server."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._word = b""
        self._is_for_good = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts = 0
        self.refuses = False

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _e: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._listener.close()
        self.hang_up()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    def cut_after(self, word: bytes, *, for_good: bool = False) -> None:
        """Hang up once, when the server answers a message that has this word; let nobody in again if ``for_good``."""
        self._word = word
        self._is_for_good = for_good

    def hang_up(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        if self.refuses:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(
                "127.0.0.1", self._server_port
            )
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(server_writer)
        is_armed = asyncio.Event()
        try:
            await asyncio.gather(
                self._to_server(reader, server_writer, is_armed),
                self._to_client(server_reader, writer, is_armed),
            )
        except OSError:
            pass
        finally:
            writer.transport.abort()
            server_writer.transport.abort()

    async def _to_server(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_armed: asyncio.Event
    ) -> None:
        while piece := await reader.read(PIECE_BYTES):
            if self._word and self._word in piece:
                self._word = b""
                is_armed.set()
            writer.write(piece)
        writer.transport.abort()

    async def _to_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_armed: asyncio.Event
    ) -> None:
        while piece := await reader.read(PIECE_BYTES):
            if is_armed.is_set():
                self.cuts += 1
                self.refuses = self._is_for_good
                raise ConnectionResetError
            writer.write(piece)
        writer.transport.abort()
