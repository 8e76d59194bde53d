"""``raftq work``: commands and functions as handlers."""

import asyncio
import json
import os
import select
import sys
import textwrap

import pytest
from tests.support.raftq_command import invoke, task
from tests.support.recording_client import RecordingClient

from raftq.cli.executing import ERR_BYTES_MAX, Executor, stdin_of
from raftq.cli.sample import send
from raftq.cli.verbs.work import load_function
from raftq.testing import MemoryQueue
from raftq.worker import MoveError, RetryError

PATH = {"PATH": "/usr/bin:/bin"}


def execute(command, given=None, environ=PATH):
    return asyncio.run(Executor(command, environ)(given or task(value={"to": "ada"})))


# --- --exec --------------------------------------------------------------------------------------


def test_exit_code_0_is_done():
    execute("exit 0")


def test_exit_code_75_is_tried_again_with_the_end_of_stderr():
    with pytest.raises(RetryError, match=r"^exit code 75\nserver busy$"):
        execute("echo server busy >&2; exit 75")


@pytest.mark.parametrize("code", [1, 74, 76, 127])
def test_any_other_exit_code_moves_the_task(code):
    with pytest.raises(MoveError, match=f"^exit code {code}$"):
        execute(f"exit {code}")


def test_a_command_that_a_signal_ended_moves_the_task():
    with pytest.raises(MoveError, match=r"^ended by SIGKILL$"):
        execute("kill -9 $$")


def test_the_value_is_a_line_on_stdin_as_it_was_written(tmp_path):
    big = task(value={"n": 9007199254740993, "to": "ada"})
    out = tmp_path / "out"
    execute(f"cat > {out}", big)
    assert out.read_bytes() == b'{"n":9007199254740993,"to":"ada"}\n'


def test_bytes_are_on_stdin_as_they_are():
    assert stdin_of(task(value=b"\x00\xff")) == b"\x00\xff"


def test_a_command_need_not_read_a_large_value():
    execute("exit 0", task(value="x" * 1_000_000))


def test_the_facts_of_the_task_are_variables(tmp_path):
    out = tmp_path / "out"
    given = task("t9", 7, attempt=2, claims=3, err="a\0b", queue="emails")
    execute(f"env | grep ^RAFTQ_ | sort > {out}", given, PATH | {"RAFTQ_URL": "raftq://h:1"})
    assert out.read_text().splitlines() == [
        f"RAFTQ_TASK_AT={given.at}", "RAFTQ_TASK_ATTEMPT=2", "RAFTQ_TASK_CLAIMS=3",
        "RAFTQ_TASK_ERR=ab", "RAFTQ_TASK_ID=t9", "RAFTQ_TASK_QUEUE=emails",
        "RAFTQ_TASK_VERSION=7", "RAFTQ_URL=raftq://h:1",
    ]  # fmt: skip


def test_only_the_end_of_a_long_stderr_is_kept(capfdbinary):
    with pytest.raises(MoveError) as caught:
        execute("yes x | head -c 100000 >&2; echo the end >&2; exit 1")
    assert str(caught.value).endswith("the end")
    assert len(str(caught.value)) <= ERR_BYTES_MAX + len("exit code 1\n")
    assert len(capfdbinary.readouterr().err) == 100_008  # all of it was passed on


def test_a_command_whose_task_is_lost_is_ended_with_its_children(tmp_path):
    pids = tmp_path / "pids"

    async def lose() -> None:
        handler = Executor(f"sleep 600 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait", PATH)
        running = asyncio.create_task(handler(task()))
        while not pids.exists():
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(lose())
    shell, child = map(int, pids.read_text().split())
    assert ends_soon(shell)
    assert ends_soon(child)


def test_what_a_command_leaves_running_is_ended_and_not_waited_for(tmp_path):
    pid = tmp_path / "pid"
    execute(f"sleep 600 & echo $! > {pid}")
    assert ends_soon(int(pid.read_text()))


def ends_soon(pid: int) -> bool:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 10)[0])  # readable once it has ended
    finally:
        os.close(process)


# --- the verb --------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("--exec", "x", "--handler", "a:b")])
def test_work_wants_one_thing_to_run(arguments):
    assert invoke(RecordingClient(), "work", "q", *arguments).code == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("app", "is not MODULE:FUNCTION"), (":f", "is not MODULE:FUNCTION"),
        ("no_such_module_here:f", "ModuleNotFoundError"), ("json:nope", "AttributeError"),
        ("sys:path", "is not a function"), ("broken_app:f", "ZeroDivisionError"),
    ],
)  # fmt: skip
def test_a_handler_that_is_none_is_refused(name, words, tmp_path, monkeypatch):
    (tmp_path / "broken_app.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    ran = invoke(RecordingClient(), "work", "q", "--handler", name)
    assert ran.code == 2
    assert words in ran.err


def test_a_function_is_found_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "my_handlers.py").write_text("class C:\n    @staticmethod\n    def f(task): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert load_function("my_handlers:C.f").__name__ == "f"


class Connecting:
    """Opens clients of a queue in memory."""

    def __init__(self, queue: MemoryQueue) -> None:
        self.queue = queue
        self.options: list[dict] = []

    def connect(self, _url, **options):
        self.options.append(options)
        return self.queue.client()


@pytest.fixture
def handlers(tmp_path, monkeypatch):
    """A module of handlers that end the worker when the last task has come."""
    code = """
        import raftq

        seen = []

        def work(task):
            seen.append(task.value)
            if task.value == "bad":
                raise raftq.MoveError("cannot")
            if task.value == "last":
                raise raftq.StopWorker

        def fatal(task):
            raise raftq.FatalWorker("all is lost")
    """
    (tmp_path / "work_handlers.py").write_text(textwrap.dedent(code))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("work_handlers", None)


@pytest.mark.usefixtures("handlers")
def test_work_runs_a_function_on_every_task_and_says_how_it_went():
    queue = MemoryQueue()
    with queue.client() as client:
        client.configure("q", order="fifo")
        for value in ("good", "bad", "last"):
            client.put("q", value)
        connecting = Connecting(queue)
        ran = invoke(connecting, "work", "q", "--handler", "work_handlers:work")
        assert ran.code == 0, ran.err
        assert sys.modules["work_handlers"].seen == ["good", "bad", "last"]
        assert "1 done, 0 to be tried again, 1 moved, 1 handed back, 0 lost" in ran.err
        assert [found.value for found in client.tasks("q/err")] == ["bad"]
    assert connecting.options[0]["claimant"] is None  # so the library makes one up


@pytest.mark.usefixtures("handlers")
def test_a_fatal_handler_exits_with_1():
    queue = MemoryQueue()
    with queue.client() as client:
        client.put("q", 1)
        ran = invoke(Connecting(queue), "work", "q", "--handler", "work_handlers:fatal")
    assert ran.code == 1
    assert "the handler stopped the worker: all is lost" in ran.err


def test_a_queue_that_cannot_be_exits_with_2():
    ran = invoke(Connecting(MemoryQueue()), "work", "a b", "--exec", "true")
    assert ran.code == 2
    assert "code: invalid (exit 2)" in ran.err


# --- the sample and the bench --------------------------------------------------------------------


def test_the_sample_handler_fails_on_what_is_no_address(capsys):
    send(task(value={"to": "ada@example.org"}))
    with pytest.raises(MoveError, match="'nowhere' is no address"):
        send(task(value={"to": "nowhere"}))
    with pytest.raises(MoveError):
        send(task(value=None))
    assert "sent to 'ada@example.org'" in capsys.readouterr().out


def test_bench_counts_cycles_and_leaves_nothing_behind():
    queue = MemoryQueue()
    ran = invoke(Connecting(queue), "bench", "--for", "0s", "--in-flight", "3", "--size", "10")
    assert ran.code == 0, ran.err
    result = json.loads(ran.out)
    assert (result["cycles"], result["in_flight"], result["value_bytes"]) == (3, 3, 10)
    assert result["durability"] == "memory"
    with queue.client() as client:
        assert client.queues() == []


def test_bench_keeps_off_a_queue_that_holds_tasks():
    queue = MemoryQueue()
    with queue.client() as client:
        client.put("emails", 1)
        assert invoke(Connecting(queue), "bench", "--queue", "emails").code == 2
        assert len(client.tasks("emails")) == 1


def test_bench_tells_people_in_three_lines():
    ran = invoke(Connecting(MemoryQueue()), "bench", "--for", "0s", "-o", "table")
    assert "cycles/s with 64 in flight" in ran.out
    assert len(ran.out.splitlines()) == 3
