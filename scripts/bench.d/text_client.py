"""Cycles over the text protocol: enq, deq, ack, with many in flight.

usage: text_client.py HOST:PORT [HOST:PORT ...] [--connections C] [--in-flight N] [--seconds S]

N cycles are under way at any time, spread over C connections, and these over the addresses; each cycle
waits for one reply after another. The client costs about as little as Python can: no library, no
object per request, one write per piece of replies. RAFTQ_TOKEN is what it says who it is with, RAFTQ_CA the
authority of nodes that speak TLS.
"""

import argparse
import asyncio
import json
import os
import ssl
import statistics
import time
from typing import cast

import uvloop

QUEUE = b"/bench/text"
VALUE = b"x" * 64
WARM_UP_S = 1.0
CONNECTIONS = 4
TOKEN = os.environ.get("RAFTQ_TOKEN", "")
AUTH = b"9999999 auth %b\n" % TOKEN.encode() if TOKEN else b""
CA = os.environ.get("RAFTQ_CA", "")


class Connection(asyncio.Protocol):
    """Keeps ``slots`` cycles going. A slot's number is the rid of all its requests."""

    def __init__(self, slots: int, end_s: float) -> None:
        loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = loop.create_future()
        self.cycles = 0
        self.took_s: list[float] = []  # from request to reply, in slot 0
        self._now_s = time.monotonic  # uvloop's own time goes in milliseconds
        self._end_s = end_s
        self._open_slots = slots
        rids = range(slots)
        self._enq = {
            b"%d" % rid: b"%d enq %b %d %b\n" % (rid, QUEUE, len(VALUE), VALUE) for rid in rids
        }
        self._deq = {b"%d" % rid: b"%d deq %b\n" % (rid, QUEUE) for rid in rids}
        self._rest = b""
        self._asked_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._asked_s = self._now_s()
        self._transport.write(AUTH + b"".join(self._enq.values()))

    def data_received(self, data: bytes) -> None:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        now_s = self._now_s()
        may_start = now_s < self._end_s
        requests = []
        for line in lines:
            rid, word, *words = line.split(b" ")
            if word == b"enqed":
                requests.append(self._deq[rid])
            elif word == b"deqed":
                requests.append(b"%b ack %b %b\n" % (rid, QUEUE, words[1]))
            elif word == b"acked":
                self.cycles += 1
                if may_start:
                    requests.append(self._enq[rid])
                else:
                    self._open_slots -= 1
            elif word != b"authed":
                self._fail(ConnectionError(f"the node answered {line[:200]!r}"))
            if rid == b"0":
                self.took_s.append(now_s - self._asked_s)
                self._asked_s = now_s
        if requests:
            self._transport.write(b"".join(requests))
        if not self._open_slots and not self.done.done():
            self.done.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionError("the node closed the connection"))

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


async def drive(
    addresses: list[str], connections: int, in_flight: int, seconds: float
) -> list[Connection]:
    """Keep cycles going for a time; give the connections, which have counted them."""
    loop = asyncio.get_running_loop()
    end_s = time.monotonic() + seconds
    tls = ssl.create_default_context(cafile=CA) if CA else None
    made: list[Connection] = []
    for number in range(connections):
        host, _, port = addresses[number % len(addresses)].rpartition(":")
        slots = in_flight // connections + (number < in_flight % connections)
        _, connection = await loop.create_connection(
            lambda slots=slots: Connection(slots, end_s),
            host,
            int(port),
            ssl=tls,
        )
        made.append(connection)
    await asyncio.gather(*(connection.done for connection in made))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("addresses", metavar="HOST:PORT", nargs="+")
    parser.add_argument("--connections", type=int, default=0)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    connections = given.connections or min(CONNECTIONS, given.in_flight)
    shape = (given.addresses, connections, given.in_flight)
    warm = uvloop.run(drive(*shape, WARM_UP_S))
    measured = uvloop.run(drive(*shape, given.seconds))
    cycles = sum(connection.cycles for connection in measured)
    took_us = [took_s * 1e6 for connection in measured for took_s in connection.took_s]
    p99_us = statistics.quantiles(took_us, n=100)[98]
    figure = {
        "name": f"text, {given.in_flight} in flight, {connections} connections",
        "value": cycles / given.seconds,
        "unit": "cycles/s",
        "better": "higher",
        "cycles": cycles + sum(connection.cycles for connection in warm),
        "cpu_s": time.process_time(),
        "note": f"an operation: p50 {statistics.median(took_us):.0f} us, p99 {p99_us:.0f} us",
    }
    print(json.dumps([figure]))


if __name__ == "__main__":
    main()
