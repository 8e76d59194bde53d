"""The in-memory double: real clients over a model instead of over a cluster.

Documents go through the wire's encoding and checks, both ways, so that what works here can be sent. Any number of
clients, threads and event loops may use one.
"""

import asyncio
import threading
import time
from collections import deque
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar, overload

from raftq.blocking import Client
from raftq.client import AsyncClient
from raftq.clock import Clock, SystemClock
from raftq.errors import InvalidRequest, RaftqError
from raftq.testing.model import Model
from raftq.transport.api import Answer
from raftq.wire.documents import ClaimReply, Document
from raftq.wire.formats import MalformedError, decode, encode

R = TypeVar("R")
ClockT = TypeVar("ClockT", bound="TimeKeeper")

_MAKES_CLAIMABLE: Final = frozenset({"modify", "configure"})


class TimeKeeper(Clock, Protocol):
    """A clock that knows the date; :class:`~raftq.testing.ManualClock` is one."""

    def time_ms(self) -> int:
        """Tell the time in milliseconds since the epoch."""
        ...


class RealTime(SystemClock):
    """The machine's time."""

    def time_ms(self) -> int:
        """Tell the time in milliseconds since the epoch."""
        return time.time_ns() // 1_000_000


class _Fault(NamedTuple):
    verb: str
    error: RaftqError
    after_doing: bool


class MemoryQueue(Generic[ClockT]):
    """A cluster in memory.

    Args:
        clock: its time, and that of its clients; a :class:`~raftq.testing.ManualClock` stands still.
        seed: of the random choice of claims.
    """

    @overload
    def __init__(self: "MemoryQueue[RealTime]", *, seed: int = 0) -> None: ...

    @overload
    def __init__(self, *, clock: ClockT, seed: int = 0) -> None: ...

    def __init__(self, *, clock: Any = None, seed: int = 0) -> None:
        self.clock: ClockT = RealTime() if clock is None else clock  # type: ignore[assignment] # the first overload
        self._model = Model(seed)
        self._lock = threading.Lock()
        self._waiters: set[asyncio.Future[None]] = set()
        self._faults: deque[_Fault] = deque()

    def client(self, claimant: str | None = None) -> Client:
        """Make a synchronous client; each has a claimant of its own unless one is given."""
        return Client(claimant=claimant, transport=_MemoryTransport(self), clock=self.clock)

    def async_client(self, claimant: str | None = None) -> AsyncClient:
        """Make an async client; each has a claimant of its own unless one is given."""
        return AsyncClient(claimant=claimant, transport=_MemoryTransport(self), clock=self.clock)

    def fail_next(self, verb: str, error: RaftqError, *, after_doing: bool = False) -> None:
        """Let the next call of ``verb`` (claim, modify, renew, …) raise, before or after it is done.

        May be called several times: each call of that verb meets one fault.
        """
        self._faults.append(_Fault(verb, error, after_doing))

    async def call(self, verb: str, document: Document, wait_s: float) -> tuple[int, Any]:
        """Do a call, waiting as long as the document of a claim says."""
        request = _checked(document)
        fault = self._take_fault(verb)
        if fault is not None and not fault.after_doing:
            raise fault.error
        give_up_at = self.clock.monotonic() + wait_s
        while True:
            with self._lock:
                reply = self._model.call(verb, request, self.clock.time_ms())
                index = self._model.index
                left_s = give_up_at - self.clock.monotonic()
                if _found_nothing(reply) and left_s > 0:
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiters.add(waiter)
                    wait_until_s = min(left_s, self._next_arrival_s())
                else:
                    if verb in _MAKES_CLAIMABLE:
                        self._wake_waiters()
                    break
            await self._wait(waiter, wait_until_s)
        if fault is not None:
            raise fault.error
        return index, reply

    def _take_fault(self, verb: str) -> _Fault | None:
        for fault in self._faults:
            if fault.verb == verb:
                self._faults.remove(fault)
                return fault
        return None

    def _next_arrival_s(self) -> float:
        at = self._model.next_arrival_ms()
        return float("inf") if at is None else max(0.001, (at - self.clock.time_ms()) / 1_000)

    async def _wait(self, waiter: asyncio.Future[None], delay_s: float) -> None:
        """Wait until something changed, or a time has passed."""
        sleeping = asyncio.ensure_future(self.clock.sleep(delay_s))
        try:
            await asyncio.wait({waiter, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            with self._lock:
                self._waiters.discard(waiter)

    def _wake_waiters(self) -> None:
        for waiter in self._waiters:
            waiter.get_loop().call_soon_threadsafe(_finish, waiter)


class _MemoryTransport:
    """A :class:`~raftq.transport.api.Transport` to a :class:`MemoryQueue`."""

    def __init__(self, queue: MemoryQueue[Any]) -> None:
        self._queue = queue

    async def call(
        self,
        verb: str,
        document: Document,
        reply_type: type[R],
        *,
        timeout_s: float,
        wait_s: float = 0.0,
    ) -> Answer[R]:
        """Do a call; nothing here takes longer than the wait it asks for."""
        del timeout_s
        log_index, reply = await self._queue.call(verb, document, wait_s)
        return Answer(log_index, decode(encode(reply, "json"), reply_type, "json"), True)

    async def close(self) -> None:
        """Nothing to close."""


def _checked(document: Document) -> Document:
    """Read the document as a node would.

    Raises:
        InvalidRequest: a field has a value it cannot have.
    """
    try:
        return decode(encode(document, "json"), type(document), "json")
    except MalformedError as error:
        refusal = InvalidRequest(str(error))
        refusal.field = error.field
        raise refusal from error


def _found_nothing(reply: Any) -> bool:
    """Tell whether a claim may be made again, and then find something."""
    return isinstance(reply, ClaimReply) and not reply.tasks and reply.gone is not True


def _finish(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
