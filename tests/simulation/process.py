"""One process: an event loop of its own under virtual time, which can be stopped, paused and killed.

Everything that a node does runs in turns of its loop; a killed process never runs again, whatever it has
under way. A turn takes no time, the next one comes a little later, so that other processes have theirs between.
Just as much of asyncio's interface as the node needs.
"""

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from tests.simulation.clock import ProcessClock
from tests.simulation.world import World
from tests.support.virtual_disk import PowerCut

TURN_NS: Final = 30_000  # what a turn takes
GENERATIONS: Final = 3  # callbacks of callbacks that belong to the same turn


class Handle:
    """A callback that will be called. The same for timers."""

    __slots__ = ("args", "callback", "when_s")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.callback: Callable[..., Any] | None = callback
        self.args = args
        self.when_s = 0.0

    def cancel(self) -> None:
        self.callback = None
        self.args = ()

    def call(self) -> None:
        if self.callback is not None:
            self.callback(*self.args)

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self.when_s


if TYPE_CHECKING:
    Loop = object  # what nodes need of asyncio's interface is a small part of it
else:
    Loop = asyncio.AbstractEventLoop


class ProcessLoop(Loop):
    """The loop of one process. ``complain`` is told of exceptions that nobody has caught."""

    # asyncio's running loop: left in place between turns, as most follow one of the same process.
    _entered: "ProcessLoop | None" = None
    _all: Final["WeakSet[ProcessLoop]"] = WeakSet()

    def __init__(
        self, world: World, clock: ProcessClock, name: str, complain: Callable[[str], None]
    ) -> None:
        self.name = name
        self.world = world
        self.clock = clock
        self.is_alive = True
        self.node: Any = None  # whose process it is, if it is that of a node
        self.is_paused = False
        self.after_turn: Callable[[], None] = lambda: None
        self._complain = complain
        self._ready: deque[Handle] = deque()
        self._inbox: list[Callable[[], None]] = []  # what came while it was paused
        self._is_running = False
        self._is_due = False  # a turn is on its way
        ProcessLoop._all.add(self)

    # --- for the simulation -------------------------------------------------------------------

    def deliver(self, action: Callable[[], None]) -> None:
        """Something comes from outside; it waits while the process is paused."""
        if not self.is_alive:
            return
        if self.world.is_in_turn:  # another process is running: it has its own turn first
            self.world.at(self.world.now_ns, lambda: self.deliver(action))
        elif self.is_paused:
            self._inbox.append(action)
        else:
            self._run(action)

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        """Go on: all that came meanwhile is there at once."""
        if not (self.is_alive and self.is_paused):
            return
        self.is_paused = False
        inbox, self._inbox = self._inbox, []
        for action in inbox:
            self._ready.append(Handle(action, ()))
        self._run()

    def kill(self) -> None:
        """End it. Nothing of it ever runs again."""
        self.is_alive = False
        self._ready.clear()
        self._inbox.clear()

    def spawn(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Begin a task from outside."""

        def begin() -> None:
            self.create_task(work())

        self.deliver(begin)

    def _turn(self) -> None:
        self._is_due = False
        if self.is_alive and not self.is_paused:
            self._run()

    def _run(self, first: Callable[[], None] | None = None) -> None:
        """A turn: ``first``, and what is ready."""
        assert not self._is_running
        world, ready = self.world, self._ready
        self._is_running = world.is_in_turn = True
        if ProcessLoop._entered is not self:
            ProcessLoop._entered = self
            events._set_running_loop(self)  # type: ignore[arg-type]
        try:
            if first is not None:
                self._call(first)
            for _ in range(GENERATIONS):
                if not ready or not self.is_alive:
                    break
                self._run_ready(ready)
        finally:
            self._is_running = world.is_in_turn = False
        if self.is_alive:
            self.after_turn()
            if ready:
                self._schedule()

    def _run_ready(self, ready: deque[Handle]) -> None:
        call, next_of = self._call, ready.popleft
        for _ in range(len(ready)):
            if not ready:
                return
            handle = next_of()
            callback = handle.callback
            if callback is not None:
                call(callback, *handle.args)

    def _call(self, callback: Callable[..., Any], *args: Any) -> None:
        try:
            callback(*args)
        except PowerCut:
            if self.is_alive:
                self._complain("a power cut came without one")
        except Exception as error:  # noqa: BLE001 - the loop of a real node logs it, and goes on
            self._complain(f"an exception was caught by nobody: {error!r}")

    def _schedule(self) -> None:
        if not (self._is_due or self._is_running or self.is_paused):
            self._is_due = True
            world = self.world
            world.at(world.now_ns + TURN_NS, self._turn)

    # --- asyncio ------------------------------------------------------------------------------

    def time(self) -> float:
        return self.clock.monotonic_s()

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        handle = Handle(callback, args)
        if self.is_alive:
            self._ready.append(handle)
            if not self._is_running:
                self._schedule()
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_at(self.time() + delay, callback, *args)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        handle = Handle(callback, args)
        handle.when_s = when
        self.world.at(self.clock.world_ns(when), partial(self._fire, handle))
        return handle

    def _fire(self, handle: Handle) -> None:
        if handle.callback is not None:
            self.deliver(handle.call)

    def create_future(self) -> Any:
        return asyncio.Future(loop=self)  # type: ignore[arg-type]

    @staticmethod
    def leave_all() -> None:
        """No process has a turn any more."""
        ProcessLoop._entered = None
        events._set_running_loop(None)

    @staticmethod
    def end_all() -> list["asyncio.Task[Any]"]:
        """No process runs any more. What they had under way."""
        loops = list(ProcessLoop._all)
        for loop in loops:
            loop.is_alive = False
        return [task for loop in loops for task in asyncio.all_tasks(loop)]  # type: ignore[arg-type]

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        assert self._is_running, "a task begins outside of its process's turns"
        return asyncio.Task(coro, loop=self, name=name)  # type: ignore[arg-type]

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._is_running

    def is_closed(self) -> bool:
        return not self.is_alive

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if self.is_alive and not isinstance(error, PowerCut):
            self._complain(f"{context.get('message')}: {error!r}")
