"""A network in user space: every way to a node leads through a proxy, which delivers each direction or does not.

For machines where namespaces cannot be made. Nodes listen on loopback; what they advertise is the address of their
proxy, which reads in the first frame of a connection who sends it. A cut direction is not read any more: senders
notice nothing, as with a cable that was pulled, and what was under way comes once the direction is mended. The end of
a connection is passed on in the directions that are not cut, so a node that dies behind a cut leaves half-open
connections.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from free_ports import free_ports
from raftq_cluster.backends.raft.peer_api import PeerError
from raftq_cluster.backends.raft.transport.framing import LENGTH_BYTES, FrameReader
from raftq_cluster.backends.raft.transport.hello import read_hello
from tests.chaos.networks.api import CLIENTS, HTTP, TEXT, Link, Slow

PEER: Final = "peer"
DOORS: Final = (PEER, HTTP, TEXT)
_PIECE_BYTES: Final = 1 << 16
_HELLO_S: Final = 5.0
_LOOPBACK: Final = "127.0.0.1"


class Proxies:
    """See the module."""

    name = "user-space proxies"

    def __init__(self, places: Sequence[str]) -> None:
        self._places = tuple(places)
        self._behind: dict[tuple[str, str], int] = {}  # (place, door) -> port of the node
        self._before: dict[tuple[str, str], int] = {}  # ... of its proxy
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._gates: dict[Link, asyncio.Event] = {}
        self._slow: dict[str, Slow] = {}
        self._names: dict[str, str] = {}  # who dials -> its place

    async def open(self) -> None:
        """Choose ports and listen."""
        doors = [(place, door) for place in self._places for door in DOORS]
        self._behind = dict(zip(doors, free_ports(len(doors)), strict=True))
        for place, door in doors:
            server = await asyncio.start_server(partial(self._accept, place, door), _LOOPBACK, 0)
            self._servers.append(server)
            self._before[place, door] = server.sockets[0].getsockname()[1]
            self._names[f"{_LOOPBACK}:{self._before[place, door]}"] = place

    async def close(self) -> None:
        """Close every connection and listener."""
        for server in self._servers:
            server.close()
        self._servers = []
        await turns()  # whoever was let in a moment ago
        while tasks := list(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await turns()  # connections that were aborted are closed then

    def prefix(self, place: str) -> tuple[str, ...]:
        """Nothing: all places are this machine."""
        del place
        return ()

    def flags(self, place: str) -> tuple[str, ...]:
        """Ports of its own, and the proxy's for its peers."""
        words = [(f"--{door}", f"{_LOOPBACK}:{self._behind[place, door]}") for door in DOORS]
        words.append(("--peer-advertise", self.peer_address(place)))
        return tuple(word for pair in words for word in pair)

    def peer_address(self, place: str) -> str:
        """Where the proxy listens."""
        return f"{_LOOPBACK}:{self._before[place, PEER]}"

    def client_address(self, place: str, door: str) -> tuple[str, int]:
        """Where the proxy listens."""
        return _LOOPBACK, self._before[place, door]

    async def set_cuts(self, cuts: Collection[Link]) -> None:
        """Stop reading in these directions, and go on in all others."""
        for link in {*self._gates, *cuts}:
            gate = self._gate(link)
            if link in cuts:
                gate.clear()
            else:
                gate.set()

    async def set_slow(self, places: Mapping[str, Slow]) -> None:
        """Hold every piece for a while."""
        self._slow = dict(places)

    def _gate(self, link: Link) -> asyncio.Event:
        if link not in self._gates:
            self._gates[link] = asyncio.Event()
            self._gates[link].set()
        return self._gates[link]

    # --- connections ----------------------------------------------------------------------------

    async def _accept(
        self, place: str, door: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            source, first = CLIENTS, b""
            if door == PEER:
                source, first = await self._who(reader)
            await self._carry(source, place, door, first, reader, writer)
        except (OSError, PeerError, TimeoutError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            pass  # ``close`` cancels; the server must not see it as an error of its callback
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _who(self, reader: asyncio.StreamReader) -> tuple[str, bytes]:
        """The place that dials, and the bytes that say so."""
        async with asyncio.timeout(_HELLO_S):
            head = await reader.readexactly(LENGTH_BYTES)
            body = await reader.readexactly(int.from_bytes(head))
        (frame,) = FrameReader().feed(head + body)
        return self._names.get(read_hello(frame).address, CLIENTS), head + body

    async def _carry(
        self, source: str, target: str, door: str, first: bytes,
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
    ) -> None:  # fmt: skip
        await self._gate((source, target)).wait()  # whoever dials through a cut waits for ever
        far_reader, far_writer = await asyncio.open_connection(
            _LOOPBACK, self._behind[target, door]
        )
        try:
            far_writer.write(first)
            ways = (
                self._pump((source, target), reader, far_writer),
                self._pump((target, source), far_reader, writer),
            )
            # An end in one direction ends both, as processes do that die; a half-closed one is none of ours.
            pumps = [asyncio.create_task(way) for way in ways]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for link in ((source, target), (target, source)):
                    await self._gate(link).wait()  # nobody hears of it through a cut
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            far_writer.transport.abort()

    async def _pump(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        gate = self._gate(link)
        with suppress(OSError):
            while piece := await reader.read(_PIECE_BYTES):
                if held_s := self._held_s(link, len(piece)):
                    await asyncio.sleep(held_s)
                await gate.wait()
                writer.write(piece)
                await writer.drain()
        await gate.wait()  # nor does the end of a connection get through a cut

    def _held_s(self, link: Link, size: int) -> float:
        """How long a piece is on its way. A rate is that of the slower end."""
        held_s = 0.0
        for place in link:
            slow = self._slow.get(place)
            if slow is not None:
                held_s += slow.delay_ms / 1_000
                held_s += size * 8 / (slow.rate_kbit * 1_000) if slow.rate_kbit else 0.0
        return held_s


async def turns() -> None:
    """Let the loop do what it has begun: from ``accept`` to the first step of a server's callback are four turns of it."""
    for _ in range(5):
        await asyncio.sleep(0)
