"""TLS on the ports for clients: handshakes good and bad, plain speakers, floods, renewed files."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support import http_node, text_node

from raftq.cli.authority import Authority, Pair
from raftq_cluster.config import StartError
from raftq_cluster.servers import greeting
from raftq_cluster.servers.tls import ServerTls, TlsFiles, context_of
from raftq_cluster.service.limits import Limits

PING = b"1 ping\n"
PONG = b"1 pong\n"
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: n\r\n\r\n"


class Certified:
    """An authority with a node and a client."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder, datetime.now(UTC))
        self.node = self.authority.certify_node("n1", ["localhost", "127.0.0.1"], 1)
        self.client = self.authority.certify_client("c", 1)
        self.ca = self.authority.pair.cert

    def files(self, *, mutual: bool = False) -> TlsFiles:
        return TlsFiles(self.node.cert, self.node.key, self.ca if mutual else None)

    def trusting(self, own: Pair | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        if own is not None:
            context.load_cert_chain(*own)
        return context


@pytest.fixture
def certified(tmp_path: Path) -> Certified:
    return Certified(tmp_path)


@pytest.fixture(params=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    factory = None
    if request.param == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as made:
        yield made


async def ask(node: text_node.Node, context: ssl.SSLContext | None) -> bytes:
    async with node.peer(context) as peer:
        return await peer.ask(PING, len(PONG))


def test_both_protocols_are_served_over_tls(runner: asyncio.Runner, certified: Certified) -> None:
    async def scenario() -> None:
        context = context_of(certified.files())
        async with text_node.serving(tls=context) as text, http_node.serving(tls=context) as http:
            assert await ask(text, certified.trusting()) == PONG
            async with http.peer(certified.trusting()) as peer:
                assert (await peer.ask("GET", "/v1/time")).status == 200
                assert (await peer.ask("GET", "/livez")).status == 200

    runner.run(scenario())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_from_1_2_on_are_spoken(
    runner: asyncio.Runner, certified: Certified, version: ssl.TLSVersion
) -> None:
    async def scenario() -> None:
        client = certified.trusting()
        client.minimum_version = client.maximum_version = version
        async with text_node.serving(tls=context_of(certified.files())) as node:
            assert await ask(node, client) == PONG

    runner.run(scenario())


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_an_older_version_is_refused(runner: asyncio.Runner, certified: Certified) -> None:
    async def scenario() -> None:
        client = certified.trusting()
        client.minimum_version = ssl.TLSVersion.TLSv1
        client.maximum_version = ssl.TLSVersion.TLSv1_1
        client.set_ciphers("ALL:@SECLEVEL=0")
        async with text_node.serving(tls=context_of(certified.files())) as node:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await ask(node, client)
            assert await ask(node, certified.trusting()) == PONG

    runner.run(scenario())


def test_with_an_authority_only_certified_clients_are_served(
    runner: asyncio.Runner, certified: Certified, tmp_path: Path
) -> None:
    async def scenario() -> None:
        stranger = Certified(tmp_path / "other")
        async with text_node.serving(tls=context_of(certified.files(mutual=True))) as node:
            assert await ask(node, certified.trusting(certified.client)) == PONG
            for own in (None, stranger.client):
                with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
                    assert await ask(node, certified.trusting(own)) == PONG
            assert node.server.served <= 1

    runner.run(scenario())


def test_whoever_speaks_plainly_is_told_so(runner: asyncio.Runner, certified: Certified) -> None:
    async def scenario() -> None:
        context = context_of(certified.files())
        async with text_node.serving(tls=context) as text, http_node.serving(tls=context) as http:
            async with text.peer() as peer:
                await peer.send(PING)
                assert await peer.end() == (
                    b"- error bad_request: this port speaks TLS: raftqs://\n"
                )
            async with http.peer() as plain:
                await plain.send(LIVEZ)
                answer = await plain.answer()
                assert (answer.status, answer.code) == (400, "bad_request")
                assert "https://" in answer.document()["detail"]

    runner.run(scenario())


@pytest.mark.parametrize(
    "garbage", [b"\x16" + b"\xff" * 2_000, b"\x16\x03\x01\x00\x05hello", b"\x16"]
)
def test_garbage_ends_its_own_connection_only(
    runner: asyncio.Runner,
    certified: Certified,
    garbage: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(greeting, "HANDSHAKE_S", 0.2)
        async with (
            text_node.serving(tls=context_of(certified.files())) as node,
            node.peer(certified.trusting()) as good,
            node.peer() as bad,
        ):
            assert await good.ask(PING, len(PONG)) == PONG
            await bad.send(garbage)
            await bad.end()
            assert await good.ask(PING, len(PONG)) == PONG
            assert node.server.served == 1

    runner.run(scenario())


def test_those_who_say_nothing_have_some_seconds(
    runner: asyncio.Runner, certified: Certified, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(greeting, "HANDSHAKE_S", 0.1)
        async with (
            text_node.serving(tls=context_of(certified.files())) as node,
            node.peer() as peer,
        ):
            assert await peer.end() == b""

    runner.run(scenario())


def test_a_flood_of_strangers_keeps_nobody_out(
    runner: asyncio.Runner, certified: Certified, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(greeting, "STRANGERS_MAX", 8)
        async with (
            text_node.serving(tls=context_of(certified.files())) as node,
            AsyncExitStack() as stack,
        ):
            silent = [await stack.enter_async_context(node.peer()) for _ in range(20)]
            assert await ask(node, certified.trusting()) == PONG
            assert await silent[0].end() == b""  # the oldest had to go

    runner.run(scenario())


def test_connections_have_their_limit_under_tls(
    runner: asyncio.Runner, certified: Certified
) -> None:
    async def scenario() -> None:
        limits, trusting = Limits(connections_max=1), certified.trusting()
        context = context_of(certified.files())
        async with (
            text_node.serving(tls=context, limits=limits) as text,
            http_node.serving(tls=context, limits=limits) as http,
        ):
            async with text.peer(trusting) as first, text.peer(trusting) as second:
                assert await first.ask(PING, len(PONG)) == PONG
                assert b"connections_max is 1" in await second.end()
            async with http.peer(trusting) as served, http.peer(trusting) as refused:
                assert (await served.ask("GET", "/livez")).status == 200
                assert (await refused.answer()).code == "too_busy"

    runner.run(scenario())


def test_a_peer_that_takes_no_replies_is_held_back_and_loses_none(
    runner: asyncio.Runner, certified: Certified
) -> None:
    async def scenario() -> None:
        async with (
            text_node.serving(tls=context_of(certified.files())) as node,
            node.peer(certified.trusting()) as slow,
            node.peer(certified.trusting()) as other,
        ):
            await other.send(b"1 help\n")
            head = await other.line()
            reply = head + await other.read(
                int(head.split(b" ")[2]) + 1 - len(head.split(b" ", 3)[3])
            )
            count = 30_000  # more than both systems take for a connection
            slow.writer.transport.pause_reading()  # type: ignore[attr-defined] # it can read too
            slow.writer.write(b"1 help\n" * count + b"2 enq q 1 x\n")
            for _ in range(200):  # turns of the node's loop, enough for all of it
                assert await other.ask(PING, len(PONG)) == PONG
            await other.send(b"3 stats q\n")
            assert await other.line() == b"3 error not_found: there is no task in queue q\n"
            slow.writer.transport.resume_reading()  # type: ignore[attr-defined] # the same
            assert await slow.read(len(reply) * count) == reply * count
            assert await slow.line() == b"2 enqed q 1\n"

    runner.run(scenario())


def test_renewed_files_count_for_new_contexts(certified: Certified) -> None:
    tls = ServerTls(certified.files())
    before = tls.context
    tls.refresh()
    assert tls.context is before
    certified.authority.certify_node("n1", ["localhost"], 1)
    tls.refresh()
    assert tls.context is not before


@pytest.mark.parametrize("broken", ["cert", "key"])
def test_files_that_do_not_fit_change_nothing(certified: Certified, broken: str) -> None:
    tls = ServerTls(certified.files())
    before = tls.context
    getattr(certified.node, broken).write_bytes(getattr(certified.client, broken).read_bytes())
    tls.refresh()
    assert tls.context is before
    getattr(certified.node, broken).unlink()
    tls.refresh(always=True)
    assert tls.context is before


def test_each_file_that_cannot_be_used_is_named(certified: Certified, tmp_path: Path) -> None:
    cert, key, ca = *certified.node, certified.ca
    none, empty, locked = tmp_path / "none", tmp_path / "empty", tmp_path / "locked.key"
    empty.write_bytes(b"")
    locked.write_bytes(_encrypted(key.read_bytes()))
    damaged = tmp_path / "damaged.pem"
    damaged.write_bytes(cert.read_bytes().replace(b"M", b"N", 3))
    for files, sentence in (
        (TlsFiles(none, key), f"--tls-cert: {none} cannot be read: No such file or directory"),
        (TlsFiles(cert, none), f"--tls-key: {none} cannot be read: No such file or directory"),
        (TlsFiles(cert, key, none), f"--tls-ca: {none} cannot be read: No such file or directory"),
        (TlsFiles(tmp_path, key), f"--tls-cert: {tmp_path} cannot be read: Is a directory"),
        (TlsFiles(key, key), f"--tls-cert: {key} holds no certificate in PEM"),
        (TlsFiles(cert, cert), f"--tls-key: {cert} holds no private key in PEM"),
        (TlsFiles(cert, key, empty), f"--tls-ca: {empty} holds no certificate in PEM"),
        (TlsFiles(cert, certified.client.key), f"--tls-key: {certified.client.key} is not the key"),
        (TlsFiles(cert, locked), f"--tls-key: {locked} is encrypted"),
        (TlsFiles(damaged, key), f"--tls-cert, --tls-key: {damaged} and {key} cannot be used"),
        (TlsFiles(cert, key, damaged), f"--tls-ca: {damaged} cannot be used"),
    ):
        with pytest.raises(StartError) as refused:
            context_of(files)
        assert refused.value.sentence.startswith(sentence)
    assert ca.exists()


def _encrypted(key: bytes) -> bytes:
    from cryptography.hazmat.primitives import serialization

    loaded = serialization.load_pem_private_key(key, None)
    return loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


def test_a_lack_of_descriptors_is_waited_out(
    runner: asyncio.Runner, certified: Certified, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Exhausted(socket.socket):
        lacks = True

        def accept(self) -> tuple[socket.socket, object]:
            if Exhausted.lacks:
                Exhausted.lacks = False
                raise OSError(24, "Too many open files")
            return super().accept()

    async def scenario() -> None:
        monkeypatch.setattr(greeting, "ACCEPT_AGAIN_S", 0.05)
        listening = Exhausted(socket.AF_INET, socket.SOCK_STREAM)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        context = context_of(certified.files())
        listener = greeting.TlsListener(
            [listening], asyncio.Protocol, greeting.Greeting(lambda: context, bytes)
        )
        address = listening.getsockname()
        _, writer = await asyncio.open_connection(*address, ssl=certified.trusting())
        writer.close()
        listener.close()
        listener.close()
        assert not Exhausted.lacks

    runner.run(scenario())
