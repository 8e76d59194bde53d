"""The synchronous face: threads, interrupts, forks, and an end that leaves nothing behind."""

import asyncio
import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import raftq
from raftq.testing import ManualClock, MemoryQueue

OWN = {"close", "new_key", "claimant", "last_index", "clock"}


def client_threads() -> int:
    return sum(thread.name == "raftq-client" for thread in threading.enumerate())


def test_every_method_of_the_async_client_has_its_twin():
    for name, method in inspect.getmembers(raftq.AsyncClient, inspect.iscoroutinefunction):
        if name.startswith("_") or name in OWN:
            continue
        twin = getattr(raftq.Client, name)
        assert not inspect.iscoroutinefunction(twin)
        assert inspect.signature(twin) == inspect.signature(method)
        assert twin.__doc__ == method.__doc__


def test_many_threads_share_a_client():
    with MemoryQueue().client() as client, ThreadPoolExecutor(8) as pool:
        tasks = list(pool.map(lambda n: client.put("q", n), range(200)))
        assert len({task.id for task in tasks}) == 200
        claimed = list(pool.map(lambda _: client.claim("q")[0].value, range(200)))
        assert sorted(claimed) == list(range(200))
        assert client_threads() == 1


def test_no_thread_is_started_before_the_first_call_and_none_is_left_after_close():
    client = MemoryQueue().client()
    assert client_threads() == 0
    client.time()
    assert client_threads() == 1
    client.close()
    client.close()
    assert client_threads() == 0
    with pytest.raises(raftq.MisuseError, match="closed"):
        client.time()


def test_a_forgotten_client_ends_its_thread():
    client = MemoryQueue().client()
    client.time()
    del client
    gc.collect()
    assert client_threads() == 0


def test_errors_come_out_as_they_are():
    with MemoryQueue().client() as client:
        with pytest.raises(raftq.NotFound):
            client.task("nowhere")
        with pytest.raises(TypeError):
            client.put()


def test_bad_arguments_are_refused_where_the_client_is_made():
    with pytest.raises(raftq.InvalidRequest):
        raftq.Client("nonsense")


def test_closing_ends_a_call_that_waits_in_another_thread():
    queue = MemoryQueue(clock=ManualClock())
    client = queue.client()
    client.time()
    failed = threading.Event()

    def wait() -> None:
        try:
            client.claim("q", wait_ms=60_000)
        except raftq.MisuseError:
            failed.set()

    thread = threading.Thread(target=wait)
    thread.start()
    client.time()
    client.close()
    thread.join(10)
    assert failed.is_set()


def test_several_calls_can_be_in_flight_together():
    async def put_all(client: raftq.AsyncClient) -> list[raftq.Task]:
        return await asyncio.gather(*(client.put("q", n) for n in range(20)))

    with MemoryQueue().client() as client:
        assert len(client.run(put_all)) == 20


def main_thread_waits() -> bool:
    """And sleeps: a signal that comes just before it does so wakes nobody."""
    main = threading.main_thread()
    frame = sys._current_frames()[main.ident]
    if frame.f_code.co_name != "wait" or frame.f_back.f_code.co_name != "result":
        return False
    stat = Path(f"/proc/self/task/{main.native_id}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "S"


def test_an_interrupt_of_the_waiting_thread_cancels_the_call():
    with MemoryQueue(clock=ManualClock()).client() as client:
        cancelled = threading.Event()

        async def wait(_: raftq.AsyncClient) -> None:
            while not main_thread_waits():
                await asyncio.sleep(0)
            os.kill(os.getpid(), signal.SIGINT)
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        with pytest.raises(KeyboardInterrupt):
            client.run(wait)
        assert cancelled.wait(10)


def test_the_client_tells_who_it_is_and_what_it_saw():
    with MemoryQueue().client("me") as client:
        client.put("q")
        assert client.claimant == "me"
        assert client.last_index == 1
        assert client.new_key() != client.new_key()


def run_python(script: str) -> "subprocess.CompletedProcess[str]":
    quiet = (
        "-W",
        "error",
        "-W",
        "ignore:This process:DeprecationWarning",
    )  # 3.12: fork with threads
    command = [sys.executable, *quiet, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_forked_process_connects_anew_and_the_parents_client_goes_on():
    script = """
import os, raftq
from raftq.testing import MemoryQueue
queue = MemoryQueue()
client = queue.client()
before = client.claimant
client.put("q", 1)
pid = os.fork()
if pid == 0:
    client.put("q", 2)      # into this process's copy of the queue
    known = client.claimant != before and client.queues()[0].tasks == 2
    os._exit(0 if known else 1)
_, status = os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(status) == 0
client.put("q", 3)
assert client.claimant == before
client.close()
print("well")
"""
    run = run_python(script)
    assert (run.stdout, run.stderr) == ("well\n", "")


def test_an_async_client_of_the_parent_says_so_in_a_forked_process():
    script = """
import asyncio, os, raftq
from raftq.testing import MemoryQueue
async def main():
    client = MemoryQueue().async_client()
    await client.time()
    pid = os.fork()
    if pid == 0:
        try:
            await client.time()
        except raftq.MisuseError as error:
            os._exit(0 if "forked" in str(error) else 1)
        os._exit(2)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    await client.time()
asyncio.run(main())
"""
    run = run_python(script)
    assert (run.returncode, run.stderr) == (0, "")


def test_a_program_that_forgets_to_close_ends_all_the_same():
    script = (
        "from raftq.testing import MemoryQueue; c = MemoryQueue().client(); c.put('q'); print(1)"
    )
    run = run_python(script)
    assert (run.stdout, run.stderr, run.returncode) == ("1\n", "", 0)
