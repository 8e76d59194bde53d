"""Handlers: the user's function, ``async def`` or not, with or without a context, as one kind of thing."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from raftq.errors import DependencyError
from raftq.tasks import Modification, Task
from raftq.worker.threads import Threads


class Context:
    """What a handler may know beside its task; given to handlers that take a second argument.

    ``lost`` is set when the result will not be used any more: the lease is lost, the time is over, or
    the worker has to end. An ``async def`` handler is cancelled then; one in a thread should look.
    """

    __slots__ = ("lost", "task")

    def __init__(self, task: Task) -> None:
        self.task = task  # as claimed; renewals do not show
        self.lost = threading.Event()


Result: TypeAlias = Modification | None
Handler: TypeAlias = (
    Callable[[Task], Result]
    | Callable[[Task], Awaitable[Result]]
    | Callable[[Task, Context], Result]
    | Callable[[Task, Context], Awaitable[Result]]
)
DependencyHandler: TypeAlias = (
    Callable[[Task, DependencyError], Result] | Callable[[Task, DependencyError], Awaitable[Result]]
)


@dataclass(frozen=True, slots=True)
class Function:
    """A user's function and how to call it."""

    call: Callable[..., Any]
    is_async: bool
    arguments: int

    def start(self, threads: Threads, *arguments: object) -> "asyncio.Future[Any]":
        """Begin a call with as many of the arguments as it takes."""
        given = arguments[: self.arguments]
        if self.is_async:
            future: asyncio.Future[Any] = asyncio.ensure_future(self.call(*given))
            return future
        return threads.start(lambda: self.call(*given))


def function_of(handler: Callable[..., Any]) -> Function:
    """Look at a handler. It takes a second argument if it cannot be called without one.

    Raises:
        TypeError: it is not callable.
    """
    if not callable(handler):
        raise TypeError(f"a handler is a function, not {handler!r}")
    is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - an object whose call is a coroutine
    )
    return Function(handler, is_async, 2 if _needed_arguments(handler) > 1 else 1)


def _needed_arguments(handler: Callable[..., Any]) -> int:
    try:
        parameters = inspect.signature(handler).parameters.values()
    except ValueError:  # some builtins do not tell
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(
        parameter.kind in positional and parameter.default is inspect.Parameter.empty
        for parameter in parameters
    )
