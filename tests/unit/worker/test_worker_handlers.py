"""Handlers of every shape, and the threads that run those without ``async``."""

import asyncio
import contextvars
import functools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftq import Context, Task
from raftq.worker.handlers import function_of
from raftq.worker.threads import Threads

TASK = Task(id="t", version=1, queue="q", at=0)


async def result_of(handler, *, threads=None) -> object:
    threads = threads or Threads()
    try:
        return await function_of(handler).start(threads, TASK, Context(TASK))
    finally:
        threads.stop()


class Object:
    def work(self, task, context):
        return (task, type(context))

    async def work_async(self, task):
        return task

    async def __call__(self, task):
        return task


async def with_default(task, flag=False):
    return (task, flag)


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (lambda task: task, TASK),
        (lambda task, context: type(context), Context),
        (Object().work, (TASK, Context)),
        (Object().work_async, TASK),
        (Object(), TASK),
        (with_default, (TASK, False)),
        (functools.partial(with_default, flag=True), (TASK, True)),
        (repr, repr(TASK)),
        (type, Task),  # does not tell what it takes
    ],
)
@pytest.mark.asyncio
async def test_a_handler_of_any_shape_is_called_as_it_wants(handler, expected):
    assert await result_of(handler) == expected


def test_what_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="a handler is a function"):
        function_of("send")


@pytest.mark.asyncio
async def test_errors_of_threads_come_back():
    def fail(_):
        raise KeyError("odd")

    with pytest.raises(KeyError, match="odd"):
        await result_of(fail)


@pytest.mark.parametrize("error", [StopIteration(1), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.asyncio
async def test_errors_that_mean_something_to_python_end_no_thread(error):
    def fail(_):
        raise error

    threads = Threads()
    with pytest.raises(BaseException) as raised:
        await result_of(fail, threads=threads)
    assert raised.value is error or repr(error) in str(raised.value)


@pytest.mark.asyncio
async def test_threads_are_kept_and_no_more_are_made_than_work_at_once():
    threads = Threads()
    names = set()
    for _ in range(20):
        names.add(await threads.start(threading.get_ident))
    assert len(names) == 1
    meeting = threading.Barrier(3)
    await asyncio.gather(*(threads.start(meeting.wait) for _ in range(3)))
    assert sum(thread.name == "raftq-handler" for thread in threading.enumerate()) == 3
    threads.stop()


@pytest.mark.asyncio
async def test_context_variables_reach_the_thread():
    variable = contextvars.ContextVar("variable", default="")
    variable.set("said")
    assert await result_of(lambda _: variable.get()) == "said"


def test_a_thread_that_outlives_its_loop_harms_nobody():
    go_on, over = threading.Event(), threading.Event()

    def work() -> None:
        go_on.wait(10)
        over.set()

    async def main() -> None:
        threads = Threads()
        threads.start(work)
        threads.stop()

    asyncio.run(main())
    go_on.set()
    assert over.wait(10)


def test_a_context_tells_a_thread_that_its_work_is_lost():
    context = Context(TASK)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(context.lost.wait, 10)
        context.lost.set()
        assert waiting.result()
