"""What one connection has asked for and not been answered yet.

Begins batches at the service and hands the replies over as they come. Operations and queries are counted
as *in flight*; waiting claims are not, since they may wait for minutes. Does not know sockets, or when it
is allowed to begin: its owner decides that, and ``send`` must not raise, since it is called in the service's
turn.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import structlog

from raftq_cluster.core.outcomes import Claimed, Outcome
from raftq_cluster.servers.text import replies
from raftq_cluster.servers.text.batch import Answering, Batch, Query, Wait
from raftq_cluster.servers.text.limits import QUERIES_AT_ONCE
from raftq_cluster.servers.text.parser import Request
from raftq_cluster.servers.text.replies import AckEnding
from raftq_cluster.service.doors import Doors, Pass
from raftq_cluster.service.refusals import Refusal

_NOTHING: Final = Claimed(())

_log = structlog.get_logger(__name__)


class Exchange:
    """The requests of one connection, from their begin to their replies.

    Args:
        doors: to the service that does the work.
        send: takes replies, a few at a time, in order, and pulls them when the peer can take them.
            May be called before ``begin`` returns.
    """

    def __init__(self, doors: Doors, send: Callable[[Iterator[list[bytes]]], None]) -> None:
        self.ack_ending = AckEnding()
        self.in_flight = 0
        self.in_flight_bytes = 0
        self.is_held = False  # the peer does not read: begin no queries
        self._doors = doors
        self._entrance = doors.unnamed
        self._pass: Pass | None = None  # by which the entrance was opened, where that needs one
        self._send = send
        self._waits: set[_Waiting] = set()
        self._asked: deque[Query] = deque()
        self._asking: set[asyncio.Task[bytes]] = set()
        self._is_abandoned = False

    @property
    def is_known(self) -> bool:
        """Who asks has said who it is, or nobody has to."""
        return self._pass is not None or self._doors.are_open

    @property
    def is_idle(self) -> bool:
        """Everything is answered."""
        return not self.in_flight and not self._waits

    def begin(self, requests: Sequence[Request], size_bytes: int) -> bytes:
        """Begin requests; those that need nothing are answered before it returns.

        Args:
            requests: in the order of their coming.
            size_bytes: that they occupy until they are answered.

        Returns:
            The last words to this peer if no more requests can be read from it, else nothing.
        """
        if self._pass is not None and self._pass.generation != self._doors.generation:
            self._use(self._doors.renew(self._pass))
        pending = iter(requests)
        while True:
            batch = Batch(self._entrance, self.ack_ending)
            batch.add(pending)
            self._begin(batch, size_bytes)
            if batch.introduction is None:
                return batch.last_words
            self._introduce(*batch.introduction)
            if batch.operations:
                size_bytes = 0  # counted already

    def _begin(self, batch: Batch, size_bytes: int) -> None:
        if batch.replies:
            self._send(iter((batch.replies,)))
        if batch.operations:
            self.in_flight += len(batch.operations)
            self.in_flight_bytes += size_bytes
            self._entrance.submit(batch.operations, partial(self._told, batch, size_bytes))
        for wait in batch.waits:
            self._wait(wait)
        if batch.queries:
            self.in_flight += len(batch.queries)
            self._asked.extend(batch.queries)
            self.ask()

    def _introduce(self, rid: bytes, secret: str) -> None:
        """Let whoever asks come in by a token; with a wrong one it is nobody from now on."""
        try:
            self._use(self._doors.admit(secret))
        except Refusal as refusal:
            self._use(None)
            self._send(iter(([replies.error(rid, refusal)],)))
        else:
            self._send(iter(([replies.authed(rid)],)))

    def _use(self, held: Pass | None) -> None:
        self._pass = None if self._doors.are_open else held
        self._entrance = self._doors.unnamed if self._pass is None else self._pass.entrance

    def ask(self) -> None:
        """Begin queries, as many as may run at one time."""
        while self._asked and not self.is_held and len(self._asking) < QUERIES_AT_ONCE:
            task = asyncio.get_running_loop().create_task(_answer(self._asked.popleft()))
            self._asking.add(task)
            task.add_done_callback(self._answered)

    def end_waits(self) -> None:
        """Answer the waiting claims: nothing was found."""
        index = self._doors.service.status().index
        for waiting in list(self._waits):
            waiting.give_up()
            waiting.told(index, (_NOTHING,))

    def abandon(self) -> None:
        """Answer nothing any more. What is under way is done, unless it waits."""
        self._is_abandoned = True
        # The connection is freed when it is over: the collector seldom looks through what has lived for long.
        self._send = _take_nothing
        for waiting in self._waits:
            waiting.give_up()
        self._waits.clear()
        self._asked.clear()
        for task in self._asking:
            task.cancel()

    def _wait(self, wait: Wait) -> None:
        waiting = _Waiting(wait.answering, self._waited)
        self._waits.add(waiting)
        waiting.give_up = self._entrance.claim(wait.claim, wait.wait_ms, waiting.told)

    def _told(self, batch: Batch, size_bytes: int, index: int, outcomes: Sequence[Outcome]) -> None:
        self.in_flight -= len(batch.operations)
        self.in_flight_bytes -= size_bytes
        self._deliver(batch.render(index, outcomes))

    def _waited(self, waiting: "_Waiting", index: int, outcomes: Sequence[Outcome]) -> None:
        self._waits.discard(waiting)
        render, rid, extra = waiting.answering
        self._deliver([render(rid, extra, index, outcome)] for outcome in outcomes)

    def _answered(self, task: asyncio.Task[bytes]) -> None:
        self._asking.discard(task)
        self.in_flight -= 1
        if not task.cancelled():
            self._deliver(iter([[task.result()]]))
            self.ask()

    def _deliver(self, texts: Iterator[list[bytes]]) -> None:
        if not self._is_abandoned:
            self._send(texts)


class _Waiting:
    """One claim that waits."""

    __slots__ = ("_waited", "answering", "give_up")

    def __init__(
        self,
        answering: Answering,
        waited: Callable[["_Waiting", int, Sequence[Outcome]], None],
    ) -> None:
        self.answering = answering
        self.give_up: Callable[[], None] = _nothing_to_give_up
        self._waited = waited

    def told(self, index: int, outcomes: Sequence[Outcome]) -> None:
        """Take the outcome."""
        self._waited(self, index, outcomes)


async def _answer(query: Query) -> bytes:
    try:
        index, reply = await query.run()
        return replies.answer(query.rid, query.fmt, index, reply)
    except Refusal as refusal:
        return query.refused(refusal)
    except Exception:  # noqa: BLE001 - a fault of ours in one reply must not lose the others
        _log.exception("a query failed")
        return query.refused(replies.INTERNAL)


def _take_nothing(_texts: Iterator[list[bytes]]) -> None:
    """Nobody is there any more."""


def _nothing_to_give_up() -> None:
    """The claim has not been given to the service yet."""
