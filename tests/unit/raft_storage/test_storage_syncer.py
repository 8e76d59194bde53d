"""When syncs run, what they cover, and how their end comes back to the event loop."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.storage_witness import open_store
from tests.support.virtual_disk import Fault, VirtualDisk

from raftq_cluster.backends.raft.storage.errors import StorageFailedError, StorageFullError
from raftq_cluster.backends.raft.storage.store import Store
from raftq_cluster.backends.raft.storage.syncer import InlineRunner, Job, Syncer, ThreadRunner


class Node:
    """A store whose syncs run when the test says so."""

    def __init__(self) -> None:
        self.disk = VirtualDisk()
        self.store: Store = open_store(self.disk)
        self.waiting: list[Job] = []
        self.durable: list[int] = []
        self.failures: list[StorageFailedError] = []
        runner = InlineRunner(self.waiting.append)
        self.syncer = Syncer(self.store, runner, self.durable.append, self.failures.append)

    def append(self) -> int:
        self.store.journal.append(1, b"x")
        return self.store.last_number

    def run_sync(self) -> None:
        self.waiting.pop(0)()


# --- when --------------------------------------------------------------------------------------------


def test_a_request_starts_a_sync_and_its_end_is_told() -> None:
    node = Node()
    node.syncer.request(node.append())
    assert node.durable == []
    node.run_sync()
    assert node.durable == [1]
    assert node.store.journal.durable_index == 1


def test_requests_while_a_sync_runs_share_the_next() -> None:
    node = Node()
    node.syncer.request(node.append())
    for _ in range(5):
        node.syncer.request(node.append())
    assert len(node.waiting) == 1
    node.run_sync()
    assert (node.durable, len(node.waiting)) == ([1], 1)
    node.run_sync()
    assert (node.durable, len(node.waiting)) == ([1, 6], 0)


def test_what_was_written_before_the_sync_began_is_covered_without_asking() -> None:
    node = Node()
    node.append()
    node.append()
    node.syncer.request(1)
    node.run_sync()
    assert node.durable == [2]


def test_a_request_made_when_a_sync_ends_starts_the_next_one_once() -> None:
    node = Node()
    node.syncer._on_durable = lambda number: (
        node.durable.append(number),
        node.syncer.request(node.append()) if number < 3 else None,
    )
    node.syncer.request(node.append())
    node.run_sync()
    assert len(node.waiting) == 1
    node.run_sync()
    node.run_sync()
    assert (node.durable, node.waiting) == ([1, 2, 3], [])


def test_a_request_of_what_is_durable_still_syncs_what_is_not_numbered() -> None:
    node = Node()
    node.syncer.request(node.append())
    node.run_sync()
    node.store.journal.mark()
    node.syncer.request(node.store.last_number)
    node.run_sync()
    assert not node.store.dirty


def test_a_full_disk_is_told_to_the_one_who_asks_and_asking_again_helps() -> None:
    node = Node()
    node.append()
    node.disk.faults.append(Fault("write", errno.ENOSPC))
    with pytest.raises(StorageFullError):
        node.syncer.request(1)
    node.syncer.request(1)
    node.run_sync()
    assert node.durable == [1]


def test_a_disk_that_is_full_for_the_next_sync_does_not_spoil_the_last() -> None:
    node = Node()
    node.syncer.request(node.append())
    node.syncer.request(node.append())
    node.disk.faults.append(Fault("write", errno.ENOSPC))
    node.run_sync()
    assert (node.durable, node.waiting, node.failures) == ([1], [], [])
    node.syncer.request(2)
    node.run_sync()
    assert node.durable == [1, 2]


@pytest.mark.parametrize("call", ["sync_data", "sync_directory"])
def test_a_failed_sync_is_told_once_and_nothing_becomes_durable_any_more(call: str) -> None:
    node = Node()
    for _ in range(40):
        node.store.journal.append(1, b"x" * 500)
    node.syncer.request(1)
    node.syncer.request(40)
    node.disk.faults.append(Fault(call, errno.EIO))
    node.run_sync()
    assert (len(node.failures), node.durable, node.waiting) == (1, [], [])
    node.syncer.request(40)
    assert node.waiting == []
    with pytest.raises(StorageFailedError):
        node.store.journal.append(1, b"x")
    assert node.store.journal.durable_index == 0


def test_a_write_that_fails_when_a_sync_begins_is_a_failure() -> None:
    node = Node()
    node.append()
    node.disk.faults.append(Fault("write", errno.EIO))
    node.syncer.request(1)
    assert (len(node.failures), node.waiting) == (1, [])


def test_a_failure_told_when_a_sync_ends_stops_the_next() -> None:
    node = Node()
    node.syncer.request(node.append())
    node.syncer.request(node.append())
    node.syncer._on_durable = lambda _number: node.syncer.request(node.append())
    node.disk.faults.append(Fault("write", errno.EIO))
    node.run_sync()
    assert (len(node.failures), node.waiting) == (1, [])


def test_an_error_that_nobody_foresaw_is_a_failure_too(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    node.syncer.request(node.append())

    def burst(_self: object) -> None:
        raise RuntimeError("burst")

    monkeypatch.setattr("tests.support.virtual_disk.VirtualFile.sync_data", burst)
    node.run_sync()
    (failure,) = node.failures
    assert "burst" in str(failure)


# --- where -------------------------------------------------------------------------------------------


def test_an_inline_runner_runs_at_once_unless_told_otherwise() -> None:
    seen: list[object] = []
    InlineRunner().submit(lambda: seen.append("job"), seen.append)
    assert seen == ["job", None]


def test_an_inline_runner_tells_errors_and_lets_a_power_cut_through() -> None:
    seen: list[object] = []

    def fail() -> None:
        raise ValueError

    InlineRunner().submit(fail, seen.append)
    assert [type(error) for error in seen] == [ValueError]

    def cut() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InlineRunner().submit(cut, seen.append)


def test_an_inline_runner_finishes_what_waits_when_it_is_closed() -> None:
    waiting: list[Job] = []
    seen: list[object] = []
    runner = InlineRunner(waiting.append)
    runner.submit(lambda: seen.append("job"), seen.append)
    runner.close()
    waiting.pop()()
    assert seen == ["job"]


@pytest.fixture(params=["eventfd", "none"])
def has_eventfd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param == "none":
        monkeypatch.delattr(os, "eventfd")
    return bool(request.param == "eventfd")


async def submitted(runner: ThreadRunner, job: Job) -> Exception | None:
    told: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    runner.submit(job, told.set_result)
    return await asyncio.wait_for(told, 10)


@pytest.mark.usefixtures("has_eventfd")
@pytest.mark.asyncio
async def test_a_thread_runs_jobs_and_the_loop_is_told() -> None:
    runner = ThreadRunner(asyncio.get_running_loop(), "sync")
    seen: list[str] = []
    assert await submitted(runner, lambda: seen.append(threading.current_thread().name)) is None
    assert seen == ["sync"]
    runner.close()


@pytest.mark.usefixtures("has_eventfd")
@pytest.mark.asyncio
async def test_jobs_of_a_thread_are_told_in_their_order() -> None:
    runner = ThreadRunner(asyncio.get_running_loop(), "sync")
    seen: list[int] = []
    for n in range(50):
        runner.submit(lambda: None, lambda _error, n=n: seen.append(n))
    await submitted(runner, lambda: None)
    assert seen == list(range(50))
    runner.close()


@pytest.mark.asyncio
async def test_an_error_in_a_thread_is_told_and_the_thread_goes_on() -> None:
    runner = ThreadRunner(asyncio.get_running_loop(), "sync")

    def fail() -> None:
        raise ValueError

    assert isinstance(await submitted(runner, fail), ValueError)
    assert await submitted(runner, lambda: None) is None
    runner.close()


@pytest.mark.usefixtures("has_eventfd")
@pytest.mark.asyncio
async def test_closing_finishes_what_was_submitted_without_telling() -> None:
    runner = ThreadRunner(asyncio.get_running_loop(), "sync")
    seen: list[object] = []
    for n in range(20):
        runner.submit(lambda n=n: seen.append(n), lambda _error: None)
    runner.close()
    runner.close()
    assert seen == list(range(20))


@pytest.mark.asyncio
async def test_closing_does_not_wait_for_ever_for_a_disk_that_hangs() -> None:
    runner = ThreadRunner(asyncio.get_running_loop(), "sync", join_timeout_s=0.01)
    hang, ended = threading.Event(), threading.Event()
    runner.submit(hang.wait, lambda _error: None)
    runner.submit(ended.set, lambda _error: None)
    runner.close()
    assert not ended.is_set()
    hang.set()
    assert ended.wait(10)


def test_without_eventfd_a_loop_that_has_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "eventfd")
    loop = asyncio.new_event_loop()
    runner = ThreadRunner(loop, "sync")
    loop.close()
    ran = threading.Event()
    runner.submit(ran.set, lambda _error: None)
    runner.close()
    assert ran.is_set()


@pytest.mark.asyncio
async def test_a_store_on_a_real_disk_becomes_durable_through_the_thread(tmp_path: Path) -> None:
    from raftq_cluster.backends.raft.storage.files import DiskFiles

    store = Store.open(DiskFiles(), tmp_path, b"c1/n1")
    runner = ThreadRunner(asyncio.get_running_loop(), "sync")
    done = asyncio.Event()

    def on_durable(number: int) -> None:
        if number == 100:
            done.set()

    fail: Callable[[StorageFailedError], None] = lambda error: pytest.fail(str(error))  # noqa: E731  # typed
    syncer = Syncer(store, runner, on_durable, fail)
    for n in range(100):
        store.journal.append(1, b"%d" % n)
        syncer.request(store.last_number)
    await asyncio.wait_for(done.wait(), 10)
    runner.close()
    store.close()
    again = Store.open(DiskFiles(), tmp_path, b"c1/n1")
    assert [data for _, data in again.journal.entries(1, 101)] == [b"%d" % n for n in range(100)]
    again.close()
