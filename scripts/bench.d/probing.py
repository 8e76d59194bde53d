"""How long a node takes to answer a ping, all the time, and what comes of a light load beside it.

Part of ``million.py``. A ping waits for nothing but the node's event loop, so its slowest answer is the longest
time that something held the loop (or that the machine had no processor for it).
"""

import io
import json
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeAlias

PING_EVERY_S: Final = 0.01
CYCLE_EVERY_S: Final = 0.05
PATIENCE_S: Final = 30.0
QUEUE: Final = "/bench/probe"


Stream: TypeAlias = io.BufferedRWPair


class Answer(NamedTuple):
    """One ping: when it was sent, and how long its answer took."""

    at_s: float
    took_s: float


class Probe:
    """Pings one node, and puts, claims and deletes a task there some times a second."""

    def __init__(self, address: str) -> None:
        self.pings: list[Answer] = []
        self.cycles: list[Answer] = []
        self.errors: list[str] = []
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(work, every_s, into))
            for work, every_s, into in (
                (self._ping, PING_EVERY_S, self.pings),
                (self._cycle, CYCLE_EVERY_S, self.cycles),
            )
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def worst(self, answers: list[Answer], since_s: float) -> float:
        """Seconds of the slowest answer to what was sent since then."""
        return max((took_s for at_s, took_s in answers if at_s >= since_s), default=0.0)

    def _run(self, work: Callable[[Stream], None], every_s: float, into: list[Answer]) -> None:
        try:
            with socket.create_connection(self._address, timeout=PATIENCE_S) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                stream = connection.makefile("rwb")
                while not self._over.wait(every_s):
                    began_s = time.monotonic()
                    work(stream)
                    into.append(Answer(began_s, time.monotonic() - began_s))
        except OSError as error:
            self.errors.append(f"{self._address}: {error!r}")

    def _ping(self, stream: Stream) -> None:
        stream.write(b"1 ping\n")
        stream.flush()
        if stream.readline() != b"1 pong\n":
            raise ConnectionError("no pong")

    def _cycle(self, stream: Stream) -> None:
        _call(stream, "modify", {"inserts": [{"queue": QUEUE, "value": "x" * 64}]})
        tasks = _call(stream, "claim", {"queues": [QUEUE], "claimant": "probe"})["tasks"]
        targets = [{"id": task["id"], "version": task["version"]} for task in tasks]
        if targets:
            _call(stream, "modify", {"claimant": "probe", "deletes": targets})


def _call(stream: Stream, verb: str, document: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps(document).encode()
    stream.write(b"1 call %b %d %b\n" % (verb.encode(), len(body), body))
    stream.flush()
    _rid, word, *rest = stream.readline().split(b" ", 3)
    if word != b"ok":
        raise ConnectionError(f"the node answered {word!r} {rest!r}")
    answer: dict[str, Any] = json.loads(rest[1])
    return answer
