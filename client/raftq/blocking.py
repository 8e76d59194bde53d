"""The synchronous face: each method runs the one of :class:`~raftq.client.AsyncClient` in a thread of its own.

No method is written twice: signature and documentation are those of the async one. Any number of threads
may call; their calls share one connection.
"""

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from raftq.client import TIMEOUT_S, AsyncClient
from raftq.clock import SYSTEM_CLOCK, Clock
from raftq.credentials import Credentials
from raftq.errors import MisuseError
from raftq.transport.api import Transport
from raftq.values import VALUE_BYTES_MAX

P = ParamSpec("P")
R = TypeVar("R")

CLOSE_S: Final = 5.0  # for the connections to end, and for the thread to

_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()
_inherited: list[
    object
] = []  # what belongs to the parent of a forked process: never touched, never freed


def _blocking(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate["Client", P], R]:
    """Make a method that waits for what the async one gives."""

    @wraps(method)
    def call(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.run(lambda client: method(client, *args, **kwargs))

    return call


class Client:
    """A client for programs without an event loop; takes what :class:`~raftq.AsyncClient` takes.

    Threads may share it. In a forked process it connects anew, under a claimant of its own
    unless one was given.
    """

    def __init__(
        self,
        urls: str | Sequence[str] | None = None,
        *,
        credentials: Credentials | None = None,
        claimant: str | None = None,
        timeout_s: float = TIMEOUT_S,
        value_bytes_max: int = VALUE_BYTES_MAX,
        transport: Transport | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        def open_async() -> AsyncClient:
            return AsyncClient(
                urls,
                credentials=credentials,
                claimant=claimant,
                timeout_s=timeout_s,
                value_bytes_max=value_bytes_max,
                transport=transport,
                clock=clock,
            )

        self.open_async: Callable[[], AsyncClient] = open_async
        """Make an async client with the same arguments, for an event loop of the caller's."""
        self._client = open_async()
        self._lock = threading.Lock()
        self._engine: _Engine | None = None
        self._is_closed = False
        _clients.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def claimant(self) -> str:
        """Who holds what this client claims."""
        return self._client.claimant

    @property
    def last_index(self) -> int:
        """The highest log index that an answer to this client reflected; 0: none told."""
        return self._client.last_index

    def new_key(self) -> str:
        """Make an idempotency key, for a call that is to be repeated until its outcome is known."""
        return self._client.new_key()

    def close(self) -> None:
        """Close the connections and end the thread; calls in flight fail. Idempotent."""
        with self._lock:
            self._is_closed = True
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.stop()

    def run(self, start: Callable[[AsyncClient], Coroutine[Any, Any, R]]) -> R:
        """Run a coroutine over the async client in the client's thread, and wait for it.

        Several calls in one coroutine are in flight together: ``client.run(insert_all)``. An
        interrupt of the waiting thread cancels the coroutine.
        """
        with self._lock:
            if self._is_closed:
                raise MisuseError("the client is closed")
            if self._engine is None:
                self._engine = _Engine(self._client)
                weakref.finalize(self, self._engine.stop)
            engine = self._engine
        future = asyncio.run_coroutine_threadsafe(start(self._client), engine.loop)
        try:
            return future.result()
        except CancelledError:
            raise MisuseError("the client was closed during the call") from None
        except BaseException:
            future.cancel()
            raise

    def after_fork_in_child(self) -> None:
        """Leave the parent's thread and connections to the parent, and start again."""
        _inherited.append((self._client, self._engine, self._lock))
        self._lock = threading.Lock()
        self._engine = None
        self._client = self.open_async()

    claim = _blocking(AsyncClient.claim)
    modify = _blocking(AsyncClient.modify)
    renew = _blocking(AsyncClient.renew)
    queues = _blocking(AsyncClient.queues)
    tasks = _blocking(AsyncClient.tasks)
    task = _blocking(AsyncClient.task)
    time = _blocking(AsyncClient.time)
    claim_docs = _blocking(AsyncClient.claim_docs)
    docs = _blocking(AsyncClient.docs)
    namespaces = _blocking(AsyncClient.namespaces)
    cluster = _blocking(AsyncClient.cluster)
    add_member = _blocking(AsyncClient.add_member)
    remove_member = _blocking(AsyncClient.remove_member)
    promote_member = _blocking(AsyncClient.promote_member)
    replace_member = _blocking(AsyncClient.replace_member)
    transfer = _blocking(AsyncClient.transfer)
    verify = _blocking(AsyncClient.verify)
    settings = _blocking(AsyncClient.settings)
    configure = _blocking(AsyncClient.configure)
    put = _blocking(AsyncClient.put)
    put_many = _blocking(AsyncClient.put_many)
    done = _blocking(AsyncClient.done)
    delete = _blocking(AsyncClient.delete)
    release = _blocking(AsyncClient.release)
    retry = _blocking(AsyncClient.retry)
    quarantine = _blocking(AsyncClient.quarantine)
    move = _blocking(AsyncClient.move)
    peek = _blocking(AsyncClient.peek)
    wait_empty = _blocking(AsyncClient.wait_empty)


class _Engine:
    """An event loop in a thread, with one async client in it."""

    def __init__(self, client: AsyncClient) -> None:
        self.loop = asyncio.new_event_loop()
        self._client = client
        self._pid = os.getpid()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._serve, name="raftq-client", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the client and end the thread. Idempotent; of no effect in a forked process."""
        if self._is_stopped or self._pid != os.getpid():
            return
        self._is_stopped = True
        if threading.current_thread() is self._thread:  # the collector may run anywhere
            self.loop.stop()
            return
        closing = asyncio.run_coroutine_threadsafe(self._client.close(), self.loop)
        with contextlib.suppress(TimeoutError):
            closing.result(CLOSE_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CLOSE_S)

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            self.loop.close()


def _after_fork_in_child() -> None:
    for client in list(_clients):
        client.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
