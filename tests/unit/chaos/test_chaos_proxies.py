"""The network of proxies: what is cut is not delivered, in that direction alone, silently, and comes once it is mended."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

import pytest
import pytest_asyncio
from tests.chaos.networks.api import CLIENTS, HTTP, TEXT, Slow
from tests.chaos.networks.proxies import PEER, Proxies, turns

from raftq_cluster.backends.raft.transport.framing import length_of
from raftq_cluster.backends.raft.transport.hello import PEER as PURPOSE
from raftq_cluster.backends.raft.transport.hello import Hello, pack

pytestmark = pytest.mark.asyncio
SOON_S = 10.0
T = TypeVar("T")


async def soon(awaited: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaited, SOON_S)


class Place:
    """What listens behind the proxy of a place: it keeps what it reads, and says what it is told to."""

    def __init__(self) -> None:
        self.accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.Queue()
        )
        self.writers: list[asyncio.StreamWriter] = []

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        self.accepted.put_nowait((reader, writer))

    async def listen(self, network: Proxies, place: str, door: str) -> asyncio.Server:
        words = network.flags(place)
        port = int(words[words.index(f"--{door}") + 1].rpartition(":")[2])
        return await asyncio.start_server(self._accept, "127.0.0.1", port)


class Net:
    """Two places, each with all doors, and connections that are closed at the end."""

    def __init__(self) -> None:
        self.network = Proxies(["n1", "n2"])
        self.places = {"n1": Place(), "n2": Place()}
        self._servers: list[asyncio.Server] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self) -> None:
        await self.network.open()
        for name, place in self.places.items():
            for door in (PEER, HTTP, TEXT):
                self._servers.append(await place.listen(self.network, name, door))

    async def close(self) -> None:
        await self.network.close()
        for server in self._servers:
            server.close()
        await turns()  # whoever was let in a moment ago
        for writer in (*self._writers, *(w for p in self.places.values() for w in p.writers)):
            writer.transport.abort()
        await turns()  # the transports' own callbacks close the sockets

    async def dial(
        self, place: str, door: str = TEXT
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        address = (
            ("127.0.0.1", int(self.network.peer_address(place).rpartition(":")[2]))
            if door == PEER
            else self.network.client_address(place, door)
        )
        reader, writer = await asyncio.open_connection(*address)
        self._writers.append(writer)
        return reader, writer

    async def accept(self, place: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await soon(self.places[place].accepted.get())

    async def has_echo(self, place: str) -> None:
        """Another connection to a place works: what was sent before had time to come through."""
        _, writer = await self.dial(place, HTTP)
        writer.write(b"?")
        reader, _ = await self.accept(place)
        assert await soon(reader.readexactly(1)) == b"?"


@pytest_asyncio.fixture
async def net() -> AsyncIterator[Net]:
    net = Net()
    await net.open()
    try:
        yield net
    finally:
        await net.close()


def hello(address: str) -> bytes:
    said = Hello(protocol_min=1, protocol_max=1, purpose=PURPOSE, cluster_id="c", node_id="n",
                 birth="b", address=address)  # fmt: skip
    frame = pack(said)
    return length_of(frame) + frame


async def test_bytes_go_both_ways(net: Net) -> None:
    near_reader, near_writer = await net.dial("n1")
    near_writer.write(b"ping")
    far_reader, far_writer = await net.accept("n1")
    assert await soon(far_reader.readexactly(4)) == b"ping"
    far_writer.write(b"pong")
    assert await soon(near_reader.readexactly(4)) == b"pong"


async def test_a_cut_direction_delivers_nothing_until_it_is_mended(net: Net) -> None:
    near_reader, near_writer = await net.dial("n1")
    near_writer.write(b"a")
    far_reader, far_writer = await net.accept("n1")
    assert await soon(far_reader.readexactly(1)) == b"a"
    await net.network.set_cuts([("n1", CLIENTS)])
    far_writer.write(b"answer")
    near_writer.write(b"b")
    assert await soon(far_reader.readexactly(1)) == b"b"  # the other direction is as it was
    waiting = asyncio.ensure_future(near_reader.readexactly(6))
    near_writer.write(b"c")
    assert await soon(far_reader.readexactly(1)) == b"c"
    assert not waiting.done()
    await net.network.set_cuts([])
    assert await soon(waiting) == b"answer"


async def test_whoever_dials_through_a_cut_is_told_nothing(net: Net) -> None:
    await net.network.set_cuts([(CLIENTS, "n1")])
    reader, writer = await net.dial("n1")
    writer.write(b"late")
    waiting = asyncio.ensure_future(reader.read())
    await net.has_echo("n2")
    assert net.places["n1"].accepted.empty()
    assert not waiting.done()
    await net.network.set_cuts([])
    far_reader, _ = await net.accept("n1")
    assert await soon(far_reader.readexactly(4)) == b"late"
    waiting.cancel()


async def test_the_end_of_a_connection_is_not_heard_through_a_cut(net: Net) -> None:
    reader, writer = await net.dial("n1")
    writer.write(b"a")
    far_reader, far_writer = await net.accept("n1")
    await soon(far_reader.readexactly(1))
    await net.network.set_cuts([("n1", CLIENTS), (CLIENTS, "n1")])
    far_writer.transport.abort()
    waiting = asyncio.ensure_future(reader.read())
    await net.has_echo("n2")
    assert not waiting.done()  # half open
    await net.network.set_cuts([])
    assert await soon(waiting) == b""


async def test_a_node_is_known_by_what_it_says_first(net: Net) -> None:
    _, from_n2 = await net.dial("n1", PEER)
    from_n2.write(hello(net.network.peer_address("n2")) + b"rest")
    reader, _ = await net.accept("n1")
    said = hello(net.network.peer_address("n2"))
    assert await soon(reader.readexactly(len(said) + 4)) == said + b"rest"
    await net.network.set_cuts([("n2", "n1")])
    from_n2.write(b"lost?")
    waiting = asyncio.ensure_future(reader.readexactly(5))
    await net.has_echo("n1")  # clients are not cut off
    assert not waiting.done()
    await net.network.set_cuts([])
    assert await soon(waiting) == b"lost?"


async def test_what_is_no_hello_gets_no_further(net: Net) -> None:
    reader, writer = await net.dial("n1", PEER)
    writer.write(length_of(b"nonsense") + b"nonsense")
    assert await soon(reader.read()) == b""
    assert net.places["n1"].accepted.empty()


async def test_a_slow_place_takes_its_time_in_both_directions(net: Net) -> None:
    await net.network.set_slow({"n1": Slow(delay_ms=30)})
    reader, writer = await net.dial("n1")
    began_s = asyncio.get_running_loop().time()
    writer.write(b"a")
    far_reader, far_writer = await net.accept("n1")
    await soon(far_reader.readexactly(1))
    far_writer.write(b"b")
    await soon(reader.readexactly(1))
    assert asyncio.get_running_loop().time() - began_s >= 0.06
