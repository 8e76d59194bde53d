"""Threads for synchronous handlers: as many as run at once, kept for the next, never in the way of an exit.

Daemons, unlike those of ``concurrent.futures``: a handler that hangs must not keep the process from ending
once its task has been handed back.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeAlias

_Call: TypeAlias = Callable[[], object]


class Threads:
    """Runs functions for one event loop. How many at once is the caller's to bound."""

    def __init__(self) -> None:
        self._orders: SimpleQueue[tuple[_Call, asyncio.Future[Any]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._count = 0
        self._busy = 0

    def start(self, function: _Call) -> "asyncio.Future[Any]":
        """Run a function in a thread, with the caller's context variables; gives what it returns."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        context = contextvars.copy_context()
        with self._lock:
            self._busy += 1
            if self._busy > self._count:
                self._count += 1
                threading.Thread(target=self._work, name="raftq-handler", daemon=True).start()
        self._orders.put((lambda: context.run(function), future))
        return future

    def stop(self) -> None:
        """Let each thread end after what it is doing; does not wait."""
        for _ in range(self._count):
            self._orders.put(None)

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            function, future = order
            error: BaseException | None = None
            result: object = None
            try:
                result = function()
            except StopIteration as stopped:  # a future cannot carry it
                error = RuntimeError(f"the handler raised {stopped!r}")
            except BaseException as raised:  # noqa: BLE001 - whatever it is, it is the handler's answer
                error = raised
            with self._lock:
                self._busy -= 1
            self._tell(future, result, error)
            del order, function, future, result, error

    def _tell(
        self, future: "asyncio.Future[Any]", result: object, error: BaseException | None
    ) -> None:
        def tell() -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        try:
            future.get_loop().call_soon_threadsafe(tell)
        except RuntimeError:
            return  # the loop is closed: the worker has ended without this thread
