"""The TaskQ dialect over HTTP, as its server was seen to answer: statuses, bodies, headers.

The numbers are those of TaskQ's testable semantics (see the dialect's page in ``docs/http.md``).
"""

import asyncio
import json
from base64 import b64decode

import pytest
from tests.support.http_node import ANSWER_S, Answer, Node, Peer, serving

from raftq_cluster.servers.text.server import TextServer
from raftq_cluster.service.doors import Doors

TEXT = "text/plain; charset=utf-8"
LEASE_MS = 60_000  # a queue's own, if no setting says otherwise


async def enqueue(peer: Peer, body: bytes, queue: str = "q") -> Answer:
    return await peer.ask("POST", f"/apps/taskq/{queue}/tasks", body=body)


async def dequeue(peer: Peer, queue: str = "q") -> Answer:
    return await peer.ask("POST", f"/apps/taskq/{queue}/tasks/deque")


async def acknowledge(peer: Peer, serial: int | str, queue: str = "q") -> Answer:
    return await peer.ask("DELETE", f"/apps/taskq/{queue}/tasks/{serial}")


def serial_of(answer: Answer) -> int:
    assert answer.status == 200, answer
    return int(json.loads(answer.body)["id"])


def said(answer: Answer) -> tuple[int, bytes]:
    return answer.status, answer.body


@pytest.mark.asyncio
async def test_t7_each_queue_counts_its_ids_from_1() -> None:
    async with serving() as node, node.peer() as peer:
        answers = [await enqueue(peer, b"x", queue) for queue in ("a", "a", "b", "a")]
    assert [said(answer) for answer in answers] == [
        (200, b"task 1 enqueued\n"),
        (200, b"task 2 enqueued\n"),
        (200, b"task 1 enqueued\n"),
        (200, b"task 3 enqueued\n"),
    ]
    assert {answer.headers["content-type"] for answer in answers} == {TEXT}


@pytest.mark.asyncio
async def test_t8_tasks_leave_in_the_order_they_came() -> None:
    async with serving() as node, node.peer() as peer:
        for number in range(20):
            await enqueue(peer, b"%d" % number)
        bodies = [json.loads((await dequeue(peer)).body)["body"] for _ in range(20)]
    assert [b64decode(body) for body in bodies] == [b"%d" % number for number in range(20)]


@pytest.mark.parametrize("body", [b"", b"a\n\0 b\n", bytes(range(256)), b"x" * 2**20])
@pytest.mark.asyncio
async def test_t9_a_body_survives_byte_for_byte(body: bytes) -> None:
    async with serving() as node, node.peer() as peer:
        await enqueue(peer, body)
        answer = await dequeue(peer)
    assert b64decode(json.loads(answer.body)["body"]) == body


@pytest.mark.asyncio
async def test_t12_an_empty_queue_is_an_error_that_leaves_the_connection_usable() -> None:
    async with serving() as node, node.peer() as peer:
        answer = await dequeue(peer)
        after = await enqueue(peer, b"x")
    assert said(answer) == (500, b"taskq: no task in queue\n")
    assert answer.headers["content-type"] == TEXT
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert after.status == 200


@pytest.mark.asyncio
async def test_t12_only_a_dequeued_task_can_be_acknowledged() -> None:
    async with serving() as node, node.peer() as peer:
        await enqueue(peer, b"x")
        never_dequeued = await acknowledge(peer, 1)
        unknown = await acknowledge(peer, 2)
        serial = serial_of(await dequeue(peer))
        once = await acknowledge(peer, serial)
        twice = await acknowledge(peer, serial)
    assert said(never_dequeued) == said(unknown) == (500, b"taskq: no such task\n")
    assert said(once) == (200, b"task 1 acknowledged\n")
    assert said(twice) == (500, b"taskq: no such task\n")
    assert once.headers["content-type"] == TEXT
    assert twice.headers["x-content-type-options"] == "nosniff"


@pytest.mark.asyncio
async def test_t15_a_task_that_is_not_acknowledged_comes_back_ahead_of_newer_ones() -> None:
    async with serving() as node, node.peer() as peer:
        await enqueue(peer, b"old")
        await dequeue(peer)
        await enqueue(peer, b"new")
        await expire(node)
        serials = [serial_of(await dequeue(peer)) for _ in range(2)]
    assert serials == [1, 2]


@pytest.mark.asyncio
async def test_t15_a_task_does_not_come_back_before_its_time() -> None:
    async with serving() as node, node.peer() as peer:
        await enqueue(peer, b"x")
        await dequeue(peer)
        node.pass_time(LEASE_MS - 1)
        answer = await dequeue(peer)
    assert answer.status == 500


@pytest.mark.asyncio
async def test_t16_an_expired_task_can_be_acknowledged_and_never_comes_back() -> None:
    async with serving() as node, node.peer() as peer:
        await enqueue(peer, b"x")
        serial = serial_of(await dequeue(peer))
        await expire(node)
        acknowledged = await acknowledge(peer, serial)
        answer = await dequeue(peer)
    assert acknowledged.status == 200
    assert answer.status == 500


@pytest.mark.asyncio
async def test_t18_a_dequeued_task_has_its_id_its_queue_and_its_body_in_base64() -> None:
    async with serving() as node, node.peer() as peer:
        await enqueue(peer, b"TASKQBODY", "queue1")
        answer = await dequeue(peer, "queue1")
    assert answer.body == b'{"id":1,"queue":"queue1","body":"VEFTS1FCT0RZ"}\n'
    assert answer.headers["content-type"] == TEXT


@pytest.mark.asyncio
async def test_t19_deleting_twice_succeeds_and_then_fails() -> None:
    async with serving() as node, node.peer() as peer:
        await enqueue(peer, b"x")
        await dequeue(peer)
        answers = [await acknowledge(peer, 1), await acknowledge(peer, 1)]
    assert [answer.status for answer in answers] == [200, 500]


@pytest.mark.asyncio
async def test_both_dialects_see_the_same_queue() -> None:
    async with serving() as node, node.peer() as peer:
        inserts = [{"queue": "q", "value": {"a": [1]}}]
        await peer.ask("POST", "/v1/modify", document={"inserts": inserts})
        by_taskq = json.loads((await dequeue(peer)).body)
        await enqueue(peer, b"bytes")
        by_v1 = await peer.ask("POST", "/v1/claim", document={"queues": ["q"]})
    assert by_taskq["id"] == 1
    assert json.loads(b64decode(by_taskq["body"])) == {"a": [1]}
    assert b64decode(by_v1.document()["tasks"][0]["value_b64"]) == b"bytes"


@pytest.mark.asyncio
async def test_a_body_is_taken_whatever_its_content_type() -> None:
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask(
            "POST", "/apps/taskq/q/tasks", ("Content-Type", "image/png"), body=b"x"
        )
    assert said(answer) == (200, b"task 1 enqueued\n")


@pytest.mark.asyncio
async def test_a_queues_name_is_percent_decoded() -> None:
    async with serving() as node, node.peer() as peer:
        await enqueue(peer, b"x", "%2Fmail%2F%C3%A9")
        answer = await dequeue(peer, "%2fmail%2f%c3%a9")
        queues = await peer.ask("GET", "/v1/queues")
    assert json.loads(answer.body)["queue"] == "/mail/é"
    assert [queue["name"] for queue in queues.document()["queues"]] == ["/mail/é"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/apps/taskq/q/tasks"),
        ("PUT", "/apps/taskq/q/tasks"),
        ("GET", "/apps/taskq/q/tasks/deque"),
        ("POST", "/apps/taskq/q/tasks/1"),
        ("POST", "/apps/taskq/q/tasks/"),
        ("POST", "/apps/taskq/q/tasks/deque/"),
        ("POST", "/apps/taskq/q/tasks/dequeue"),
        ("DELETE", "/apps/taskq/q/tasks/1/"),
        ("DELETE", "/apps/taskq/q/tasks/x"),
        ("DELETE", "/apps/taskq/q/tasks/-1"),
        ("DELETE", "/apps/taskq/q/tasks/+1"),
        ("POST", "/apps/taskq/q"),
        ("POST", "/apps/taskq"),
        ("OPTIONS", "/apps/taskq/q/tasks"),
    ],
)
@pytest.mark.asyncio
async def test_another_method_or_address_is_404_in_plain_text(method: str, path: str) -> None:
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask(method, path)
    assert said(answer) == (404, b"404 page not found\n")
    assert answer.headers["content-type"] == TEXT
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("/apps/taskq//q/tasks", "/apps/taskq/q/tasks"),
        ("/apps/taskq/./q/tasks/", "/apps/taskq/q/tasks/"),
        ("/apps/taskq/a/../q/tasks", "/apps/taskq/q/tasks"),
    ],
)
@pytest.mark.asyncio
async def test_a_path_that_is_not_clean_is_sent_to_the_clean_one(path: str, clean: str) -> None:
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("POST", path)
    assert said(answer) == (301, b"")
    assert answer.headers["location"] == clean


@pytest.mark.asyncio
async def test_an_id_beyond_64_bits_is_refused() -> None:
    async with serving() as node, node.peer() as peer:
        largest = await acknowledge(peer, 2**64 - 1)
        beyond = await acknowledge(peer, 2**64)
    assert said(largest) == (500, b"taskq: no such task\n")
    assert beyond.status == 400
    assert beyond.body.startswith(b"invalid task id: ")


@pytest.mark.parametrize(
    ("queue", "status"), [("a%20b", 400), ("a%00b", 400), ("%ff", 400), ("x" * 257, 413)]
)
@pytest.mark.asyncio
async def test_a_name_that_no_protocol_could_echo_is_refused(queue: str, status: int) -> None:
    async with serving() as node, node.peer() as peer:
        answer = await enqueue(peer, b"x", queue)
    assert answer.status == status
    assert answer.headers["content-type"] == TEXT
    assert answer.body.startswith(b"taskq: ")


@pytest.mark.asyncio
async def test_a_body_beyond_the_limit_of_values_is_refused() -> None:
    async with serving() as node, node.peer() as peer:
        value = await enqueue(peer, b"x" * (2**20 + 1))
        body = await enqueue(peer, b"x" * (2**22 + 1))
        after = await dequeue(peer)
    assert (value.status, body.status) == (413, 413)
    assert b"value_bytes_max" in value.body
    assert b"body_bytes_max" in body.body
    assert after.status == 500


@pytest.mark.asyncio
async def test_a_node_that_cannot_serve_says_so_with_a_status_of_its_own() -> None:
    async with serving() as node, node.peer() as peer:
        node.service.drain()
        answers = [await enqueue(peer, b"x"), await dequeue(peer), await acknowledge(peer, 1)]
    assert [said(answer) for answer in answers] == [(503, b"taskq: the node is stopping\n")] * 3


@pytest.mark.asyncio
async def test_a_body_that_cannot_be_read_is_said_to_be_so() -> None:
    head = b"POST /apps/taskq/q/tasks HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n"
    async with serving() as node, node.peer() as peer:
        await peer.send(head + b"Expect: 100-continue\r\n\r\n")
        assert (await peer.answer()).status == 100
        await peer.send(b"nonsense\r\n")
        answer = await peer.answer()
        assert await peer.end() == b""
    assert said(answer) == (400, b"cannot read request body\n")


async def expire(node: Node) -> None:
    """Let every lease of a dequeue run out."""
    node.pass_time(LEASE_MS + 5_000)


@pytest.mark.asyncio
async def test_t17_http_and_tcp_see_the_same_queue() -> None:
    async with serving() as node, node.peer() as peer:
        text = TextServer(Doors(node.service), "127.0.0.1", 0)
        await text.start()
        reader, writer = await asyncio.open_connection(*text.address)
        async with asyncio.timeout(ANSWER_S):
            await enqueue(peer, b"by http")
            writer.write(b"1 enq q 6 by tcp\n2 deq q\n")
            by_tcp = [await reader.readline() for _ in range(2)]
            by_http = await dequeue(peer)
            writer.write(b"3 ack q 2\n")
            acked = await reader.readline()
            last = await acknowledge(peer, 1)
        writer.close()
        await text.stop(drain_s=0)
    assert by_tcp == [b"1 enqed q 2\n", b"2 deqed q 1 7 by http\n"]
    assert b64decode(json.loads(by_http.body)["body"]) == b"by tcp"
    assert acked == b"3 acked q 2\n"
    assert last.status == 200
