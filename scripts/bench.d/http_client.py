"""Cycles over HTTP v1: insert, claim, delete, one task or a batch of them a request.

usage: http_client.py HOST:PORT… [--connections N] [--batch N] [--seconds S]

Each connection has one request under way. The client is a protocol of its own: a client library
would cost more than the node does.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable
from itertools import cycle

import msgspec

QUEUE = "/bench/http"
VALUE = "x" * 64
WARM_UP_S = 1.0


class Claimed(msgspec.Struct):
    """What is needed of a claimed task."""

    id: str
    version: int


class Reply(msgspec.Struct):
    """What is needed of a claim's answer."""

    tasks: list[Claimed]


_decode = msgspec.json.Decoder(Reply).decode
_encode = msgspec.json.Encoder().encode


def request(path: str, document: object) -> bytes:
    """A whole request."""
    body = _encode(document)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """Goes round insert, claim, delete until told to stop."""

    def __init__(self, batch: int, until: Callable[[], bool]) -> None:
        self.took_s: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._batch = batch
        self._until = until
        self._buffer = b""
        insert = {"queue": QUEUE, "value": VALUE}
        self._insert = request("/v1/modify", {"claimant": "bench", "inserts": [insert] * batch})
        claim = {"queues": [QUEUE], "claimant": "bench", "limit": batch}
        self._claim = request("/v1/claim", claim)
        self._next = self._inserted
        self._begin_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._start()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            return
        self._buffer = b""
        if not head.startswith(b"HTTP/1.1 200"):
            self._fail(ConnectionError(self._describe(head, rest)))
            return
        self._next(rest)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionError("the node closed the connection"))

    def _start(self) -> None:
        if self._until():
            self.done.set_result(None)
            self._transport.close()
            return
        self._begin_s = time.perf_counter()
        self._next = self._inserted
        self._transport.write(self._insert)

    def _inserted(self, body: bytes) -> None:
        del body
        self._next = self._claimed
        self._transport.write(self._claim)

    def _claimed(self, body: bytes) -> None:
        tasks = _decode(body).tasks
        assert len(tasks) == self._batch, "fewer tasks were claimed than inserted"
        self._next = self._deleted
        self._transport.write(request("/v1/modify", {"claimant": "bench", "deletes": tasks}))

    def _deleted(self, body: bytes) -> None:
        del body
        self.took_s.append(time.perf_counter() - self._begin_s)
        self._start()

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    @staticmethod
    def _describe(head: bytes, body: bytes) -> str:
        return (head.partition(b"\r\n")[0] + b" " + body[:500]).decode(errors="replace")


async def drive(addresses: list[str], connections: int, batch: int, seconds: float) -> list[float]:
    """Let all connections go round for a time; give how long each round took."""
    places = [address.rpartition(":")[::2] for address in addresses]
    loop = asyncio.get_running_loop()
    end_s = loop.time() + seconds
    made = [
        await loop.create_connection(
            lambda: Connection(batch, lambda: loop.time() >= end_s), host, int(port)
        )
        for _, (host, port) in zip(range(connections), cycle(places), strict=False)
    ]
    await asyncio.gather(*(connection.done for _, connection in made))
    return [took for _, connection in made for took in connection.took_s]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("addresses", metavar="HOST:PORT", nargs="+")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    shape = (given.addresses, given.connections, given.batch)
    warm = asyncio.run(drive(*shape, WARM_UP_S))
    took_s = asyncio.run(drive(*shape, given.seconds))
    p99_ms = statistics.quantiles(took_s, n=100)[98] * 1000
    name = f"http, {given.connections} connections, batches of {given.batch}"
    figure = {
        "name": name,
        "value": len(took_s) * given.batch / given.seconds,
        "unit": "cycles/s",
        "better": "higher",
        "cycles": (len(warm) + len(took_s)) * given.batch,
        "cpu_s": time.process_time(),
        "note": f"a round of 3: p50 {statistics.median(took_s) * 1000:.2f} ms, p99 {p99_ms:.2f} ms",
    }
    print(json.dumps([figure]))


if __name__ == "__main__":
    main()
