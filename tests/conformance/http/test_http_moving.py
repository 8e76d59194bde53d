"""Backup and import over HTTP: whole files in and out, by whoever may, past whoever is slow."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import moves
from tests.support.http_node import Answer, Node, Peer, request, serving
from tests.support.tokens import Tokens, all_but, secret_of

from raftq.wire.export_file import MEDIA_TYPE, Counts, Footer, Frame, Header, Reader, Writer
from raftq_cluster.codec.snapshots import encode_chunk
from raftq_cluster.core.snapshot import DOC, DOC_SET, QUEUE, READY, VERSION
from raftq_cluster.servers.http.limits import Patience
from raftq_cluster.service.facade import EXPORTS_MAX
from raftq_cluster.service.limits import Limits
from raftq_cluster.service.moving import COUNT_MAX, RECORDS_MAX
from raftq_cluster.service.refusals import Refusal

pytestmark = pytest.mark.asyncio
CALLER = "caller"
BEARER = ("Authorization", f"Bearer {secret_of(CALLER)}")
TASK = {"inserts": [{"queue": "/a", "id": f"t{number}", "value": number} for number in range(600)]}


async def backup(node: Node, *headers: tuple[str, str]) -> bytes:
    """Give the whole file."""
    async with node.peer() as peer:
        await peer.send(request("GET", "/v1/backup", [*headers, ("Connection", "close")]))
        head = await peer.answer()
        assert (head.status, head.headers["content-type"]) == (200, MEDIA_TYPE), head
        assert head.headers["x-raftq-node"] == "n1"
        return dechunked(await peer.end())


def dechunked(raw: bytes) -> bytes:
    data = b""
    while raw:
        size, _, raw = raw.partition(b"\r\n")
        data, raw = data + raw[: int(size, 16)], raw[int(size, 16) + 2 :]
    return data


def frames(data: bytes) -> list[Frame]:
    reader = Reader()
    found = list(reader.feed(data))
    reader.end()
    return found


async def put_in(node: Node, data: bytes, *headers: tuple[str, str]) -> Answer:
    async with node.peer() as peer:
        return await peer.ask("POST", "/v1/import", *headers, body=data)


async def fill(node: Node) -> None:
    async with node.peer() as peer:
        assert (await peer.ask("POST", "/v1/modify", document=TASK)).status == 200


def file_of(
    *parts: list[Any],
    digest: str = "0" * 32,
    records: int = VERSION,
    seq: int = 9,
    id_: str = moves.FILE_ID,
) -> bytes:
    """A file that somebody made up, with good checksums."""
    writer = Writer()
    header = Header(format=1, records=records, id=id_, version="0.0", seq=seq)
    pieces = [writer.header(header)]
    pieces += [writer.part(encode_chunk(part)) for part in parts]
    return b"".join([*pieces, writer.footer(Counts(), digest)])


ROW = ("x", 0, "/a", 1, b"", 0, "", 0, 0, 0, "", 1, 1, 0)


async def test_a_backup_is_a_whole_file_that_another_node_takes_in() -> None:
    async with serving() as one, serving() as other:
        await fill(one)
        data = await backup(one)
        header, *parts, footer = frames(data)
        assert isinstance(header, Header)
        assert isinstance(footer, Footer)
        assert (header.records, footer.counts.tasks, footer.parts) == (VERSION, 600, len(parts))
        taken = await put_in(other, data)
        assert taken.status == 200
        document = taken.document()
        assert (document["id"], document["digest"]) == (header.id, footer.digest)
        assert document["counts"]["tasks"] == 600
        assert frames(await backup(other))[-1].digest == footer.digest  # type: ignore[union-attr]
        again = await put_in(other, data)
        assert (again.status, again.code) == (409, "import_refused")


async def test_the_head_of_a_backup_has_no_body() -> None:
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("HEAD", "/v1/backup")
        assert (answer.status, answer.headers["content-type"]) == (200, MEDIA_TYPE)
        assert (await peer.ask("GET", "/livez")).status == 200


@pytest.mark.parametrize(
    ("data", "status", "says"),
    [
        (b"", 400, "the file is empty"),
        (b"hello", 400, "no file of raftq export"),
        (file_of()[:-1], 400, "before its end"),
        (file_of()[:20], 400, "before its end"),
        (file_of() + b"x", 400, "behind the end"),
        (file_of(records=1), 400, "records of version 1"),
        (file_of(id_=""), 400, "an id that no export has"),
        (file_of(id_="F" * 32), 400, "an id that no export has"),
        (file_of(seq=-1), 400, "insertion number -1"),
        (file_of(seq=COUNT_MAX + 1), 400, "insertion number"),
        (file_of([(QUEUE, "/a", COUNT_MAX + 1, False)]), 400, "part 0 of the file: a count is too large"),
        (file_of([(QUEUE, "/a", 1, False), (READY, 1, ("x", COUNT_MAX + 1, *ROW[2:]))]), 400, "a count is too large"),
        (file_of([(QUEUE, "/a", 1, False), (READY, 1, (*ROW[:7], COUNT_MAX + 1, *ROW[8:]))]), 400, "a count is too large"),
        (file_of([(DOC_SET, "/ns", "k", COUNT_MAX + 1, "", 0, 0)]), 400, "a count is too large"),
        (file_of([(QUEUE, "/a", 1, False)] * (RECORDS_MAX + 1)), 400, "part 0 of the file: 4097 records are too many"),
        (file_of([(99,)]), 400, "part 0 of the file: malformed records"),
        (file_of([(QUEUE, "a b", 1, False)]), 400, "part 0 of the file: a queue's name has a space"),
        (file_of([(QUEUE, "", 1, False)]), 400, "a queue's name cannot be empty"),
        (file_of([(QUEUE, "/a", 1, False), (READY, 1, ("x" * 65, *ROW[1:]))]), 400, "an id has 65 bytes"),
        (
            file_of([(QUEUE, "/a", 1, False), (READY, 1, (*ROW[:6], "\n", *ROW[7:]))]),
            400,
            "a claimant has a space or a control character",
        ),
        (file_of([(DOC_SET, "/n s", "k", 0, "", 0, 0)]), 400, "a namespace has a space"),
        (file_of([(DOC_SET, "/ns", "\0", 0, "", 0, 0)]), 400, "a doc's key has a NUL"),
        (file_of([(DOC_SET, "/ns", "k", 0, "a b", 0, 0)]), 400, "a claimant has a space"),
        (file_of([(DOC_SET, "/ns", "k", 0, "", 0, 0), (DOC, "d d", "", b"", 0, 1, 1)]), 400, "an id has a space"),
        (file_of([(DOC_SET, "/ns", "k", 0, "", 0, 0), (DOC, "d", "\0", b"", 0, 1, 1)]), 400, "a doc's key has a NUL"),
        (file_of([(5, "k k", b"", 1, 1, "Done", ())]), 400, "an idempotency key has a space"),
        (file_of([(QUEUE, "/a", 1, False), (READY, 1, ROW)]), 409, "the digest of what was taken in is"),
    ],
    ids=str,
)  # fmt: skip
async def test_a_file_that_is_not_good_is_refused_and_leaves_nothing_that_looks_whole(
    data: bytes, status: int, says: str
) -> None:
    async with serving() as node, node.peer() as peer:
        answer = await put_in(node, data)
        assert answer.status == status, answer
        assert says in answer.document()["detail"]
        found = await peer.ask("GET", "/v1/queues")
        if found.status == 503:
            assert "an import into this store is unfinished" in found.document()["detail"]
            assert (await peer.ask("GET", "/metrics")).status == 200
            assert (await peer.ask("GET", "/v1/time")).status == 200
            assert (await peer.ask("DELETE", "/v1/import")).document() == {}
            found = await peer.ask("GET", "/v1/queues")
        assert found.document()["queues"] == []


async def test_there_may_be_no_import_to_drop() -> None:
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("DELETE", "/v1/import")
        assert (answer.status, answer.code) == (409, "import_refused")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/backup"), ("POST", "/v1/import"), ("DELETE", "/v1/import")]
)
async def test_moving_needs_admin_everywhere(method: str, path: str, tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    async with serving(tokens=tokens.store) as node, node.peer() as peer:
        assert (await peer.ask(method, path)).code == "unauthenticated"
        tokens.write(**{CALLER: [*all_but("admin"), "admin:/a*"]})
        denied = await peer.ask(method, path, BEARER)
        assert (denied.status, denied.code) == (403, "forbidden")
        assert "admin" in denied.document()["detail"]
        tokens.write(**{CALLER: ["admin:*"]})
        assert (await peer.ask(method, path, BEARER)).status in {200, 400, 409}


async def test_more_exports_than_a_node_bears_are_refused() -> None:
    async with serving() as node, node.peer() as peer:
        await fill(node)
        running: list[Any] = [node.service.export() for _ in range(EXPORTS_MAX)]
        for pieces in running:
            await anext(pieces)
        answer = await peer.ask("GET", "/v1/backup")
        assert (answer.status, answer.code) == (429, "too_busy")
        assert answer.document()["limit_name"] == "exports_max"
        await running[0].aclose()
        assert frames(await backup(node))
        await running[1].aclose()


async def test_a_reader_that_stands_still_is_hung_up_on() -> None:
    async with serving(patience=Patience(idle_s=1.0, sweep_s=0.01)) as node:
        values = [{"queue": "/a", "value": "x" * 500_000} for _ in range(8)]
        for _ in range(6):
            async with node.peer() as peer:
                answer = await peer.ask("POST", "/v1/modify", document={"inserts": values})
                assert answer.status == 200
        async with node.peer() as peer:
            await peer.send(request("GET", "/v1/backup"))
            await peer.answer()
            peer.stop_reading()
            await node.until_served(0)
        assert len(frames(await backup(node))) > 10


async def test_a_sender_that_stands_still_is_told_so() -> None:
    async with serving(patience=Patience(body_s=0.05)) as node, node.peer() as peer:
        await peer.send(b"POST /v1/import HTTP/1.1\r\nHost: n\r\nContent-Length: 1000\r\n\r\n")
        answer = await peer.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")


async def test_a_body_of_any_length_is_asked_for() -> None:
    async with serving(limits=Limits(body_bytes_max=10)) as node, node.peer() as peer:
        data = file_of()
        head = f"POST /v1/import HTTP/1.1\r\nHost: n\r\nExpect: 100-continue\r\nContent-Length: {len(data)}\r\n\r\n"
        await peer.send(head.encode())
        assert (await peer.answer()).status == 100
        await peer.send(data)
        assert (await peer.answer()).status == 200


async def test_a_body_in_another_encoding_is_refused() -> None:
    async with serving() as node:
        answer = await put_in(node, file_of(), ("Content-Encoding", "gzip"))
        assert (answer.status, answer.code) == (415, "unsupported_media_type")


async def test_a_store_that_is_full_takes_no_more_and_goes_on_with_more_room() -> None:
    async with serving() as source:
        await fill(source)
        data = await backup(source)
    async with serving(limits=Limits(bytes_held_max=1)) as node, node.peer() as peer:
        answer = await put_in(node, data)
        if node.service.status().backend == "postgres":  # which counts what is there at the end
            assert answer.status == 200
            return
        assert (answer.status, answer.document()["limit_name"]) == (429, "bytes_held_max")
        assert (await peer.ask("GET", "/v1/queues")).status == 503
        node.service.limits = Limits()
        assert (await put_in(node, data)).status == 200
        assert (await peer.ask("GET", "/v1/queues")).document()["queues"][0]["tasks"] == 600


async def test_a_stopping_node_takes_in_no_more() -> None:
    async with serving() as source:
        await fill(source)
        data = await backup(source)
    async with serving() as node:
        node.service.drain()

        async def pieces() -> AsyncIterator[bytes]:
            yield data

        with pytest.raises(Refusal, match="the node is stopping") as refused:
            await node.service.take_in(pieces())
        assert refused.value.code == "unavailable"


async def test_an_export_leaves_the_loop_to_others() -> None:
    async with serving() as node:
        await fill(node)
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        pieces = [piece async for piece in node.service.export()]
        beside.cancel()
        assert turns >= len(pieces) - 3


async def test_whoever_hangs_up_ends_its_backup() -> None:
    async with serving() as node, node.peer() as peer:
        await fill(node)
        leaving: Peer = node.peer()
        async with leaving:
            await leaving.send(request("GET", "/v1/backup"))
            await leaving.answer()
        for _ in range(2 * EXPORTS_MAX):
            assert frames(await backup(node))
        assert (await peer.ask("GET", "/livez")).status == 200
