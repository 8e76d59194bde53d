"""``raftqd dev`` as its user sees it: what it prints, what it survives, and that it leaves nothing behind."""

import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest
from tests.support.node_process import child_environment

import raftq

PATIENCE_S = 60.0  # three nodes start on a loaded machine with two cores
ANY_PORTS = ("--http", "127.0.0.1:0", "--text", "127.0.0.1:0", "--peer", "127.0.0.1:0")
WELCOMED = "Stop with Ctrl-C."


class Dev:
    """One ``raftqd dev`` and what it has said."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.said = ""
        self.temporary = folder / "temporary"
        self.temporary.mkdir(exist_ok=True)
        env = child_environment({"PYTHONUNBUFFERED": "1", "TMPDIR": str(self.temporary)})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "raftq_cluster", "dev", *ANY_PORTS, *flags],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def until(self, words: str, since: int = 0) -> str:
        """Read on until it has said this after its first ``since`` characters."""
        deadline = time.monotonic() + PATIENCE_S
        pipe = self.process.stdout
        assert pipe is not None
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while words not in self.said[since:]:
                assert selector.select(max(0.0, deadline - time.monotonic())), self.said
                piece = os.read(pipe.fileno(), 65_536)
                assert piece, self.said
                self.said += piece.decode()
        return self.said[since:]

    def end(self) -> int:
        """Read what it still says, and give its exit code."""
        rest, _ = self.process.communicate(timeout=PATIENCE_S)
        self.said += rest.decode()
        return self.process.returncode

    @property
    def url(self) -> str:
        """The nodes, in their order."""
        return "raftq://" + ",".join(re.findall(r"(?:text|http://\S+) +raftq://(\S+)\n", self.said))

    @property
    def pids(self) -> dict[str, int]:
        """Node -> process, as the table says."""
        return {
            name: int(pid) for name, pid in re.findall(r"^  (n\d) +(\d+) ", self.said, re.MULTILINE)
        }

    def children(self) -> set[int]:
        """Processes that it has started and that are there."""
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in task.read_text().split()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()  # all that it started goes with it, which a test below proves
        self.process.communicate()


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"  # dead, and not buried yet by whoever adopted it


def until_gone(pids: set[int]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while left := {pid for pid in pids if not is_gone(pid)}:
        assert time.monotonic() < deadline, f"{left} are still there"
        time.sleep(0.02)


@pytest.mark.parametrize("flags", [(), ("--memory",), ("--data-dir", "kept")])
def test_dev_works_on_three_tasks_and_stops_on_ctrl_c(tmp_path, flags):
    with Dev(tmp_path, *flags) as dev:
        dev.until(WELCOMED)
        assert "durability" in dev.said
        dev.until("so the task goes to emails/err")
        with raftq.Client(dev.url) as client:
            client.wait_empty("emails", timeout_ms=10_000)
            (failed,) = client.tasks("emails/err")
            assert failed.err == "'nowhere' is no address"
        host, port = dev.url.removeprefix("raftq://").split(":")
        children = dev.children()
        assert len(children) == 2
        dev.process.send_signal(signal.SIGINT)
        assert dev.end() == 0
    assert "2 done, 0 to be tried again, 1 moved" in dev.said
    assert all(is_gone(pid) for pid in children)
    assert list(dev.temporary.iterdir()) == []
    assert (tmp_path / "kept" / "node.toml").exists() is (flags == ("--data-dir", "kept"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)


@pytest.mark.slow
def test_three_nodes_outlive_one_that_is_killed_and_take_it_back(tmp_path):
    with Dev(tmp_path, "--nodes", "3") as dev:
        dev.until(WELCOMED)
        assert list(dev.pids) == ["n1", "n2", "n3"]
        with raftq.Client(dev.url) as client:
            assert [member.id for member in client.cluster().members] == ["n1", "n2", "n3"]
            leader = client.cluster().leader
            os.kill(dev.pids[leader], signal.SIGKILL)
            dev.until(f"{leader} was ended by SIGKILL\n  2 of 3 nodes are left, a majority")
            client.put("emails", {"to": "grace@example.org"})
            client.wait_empty("emails", timeout_ms=30_000)
            dev.process.send_signal(signal.SIGUSR1)
            dev.until(f"{leader} is back (process ")
        host, port = dev.url.removeprefix("raftq://").split(",")[int(leader[1:]) - 1].split(":")
        with raftq.Client(f"raftq://{host}:{port}") as client:  # where it was, of the same cluster
            assert len(client.tasks("emails/err")) == 1
        children = dev.children()
        assert len(children) == 4
        dev.process.send_signal(signal.SIGTERM)
        assert dev.end() == 0
    assert all(is_gone(pid) for pid in children)
    assert list(dev.temporary.iterdir()) == []


@pytest.mark.slow
def test_without_a_majority_dev_says_so_and_ends_with_its_last_node(tmp_path):
    with Dev(tmp_path, "--nodes", "3") as dev:
        dev.until(WELCOMED)
        os.kill(dev.pids["n1"], signal.SIGKILL)
        dev.until("a majority: nothing stops")
        os.kill(dev.pids["n2"], signal.SIGKILL)
        dev.until("1 of 3 left is no majority")
        os.kill(dev.pids["n3"], signal.SIGKILL)
        assert dev.end() == 1
    assert dev.said.count("was ended by SIGKILL") == 3


@pytest.mark.slow
def test_nothing_outlives_a_dev_that_is_killed_not_even_a_frozen_node(tmp_path):
    with Dev(tmp_path, "--nodes", "3") as dev:
        dev.until(WELCOMED)
        children = dev.children()
        assert len(children) == 4
        os.kill(dev.pids["n2"], signal.SIGSTOP)
        dev.process.kill()
        until_gone(children)


def test_a_dev_that_is_stopped_while_it_starts_leaves_nothing(tmp_path):
    with Dev(tmp_path, "--nodes", "3") as dev:
        while len(children := dev.children()) < 3:
            time.sleep(0.01)
        dev.process.send_signal(signal.SIGTERM)
        assert dev.end() == 0
        assert WELCOMED not in dev.said
        assert "Traceback" not in dev.said
        until_gone(children)


def test_the_second_ctrl_c_waits_for_nobody(tmp_path):
    with Dev(tmp_path) as dev:
        dev.until(WELCOMED)
        children = dev.children()
        node, worker = sorted(children)
        os.kill(worker, signal.SIGSTOP)
        assert node in children
        os.kill(worker, signal.SIGKILL)  # a process that ends does not end the rest
        dev.until("the worker was ended by SIGKILL")
        dev.process.send_signal(signal.SIGUSR1)
        dev.until("the worker is back")
        dev.process.send_signal(signal.SIGINT)
        dev.process.send_signal(signal.SIGINT)
        assert dev.end() == 0


@pytest.mark.slow
def test_a_cluster_that_is_kept_goes_on_with_its_tasks_and_its_number(tmp_path):
    kept = ("--nodes", "3", "--data-dir", "kept")
    for tasks in (1, 2):
        with Dev(tmp_path, *kept) as dev:
            dev.until("so the task goes to emails/err")
            dev.until(WELCOMED)
            with raftq.Client(dev.url) as client:
                client.wait_empty("emails", timeout_ms=30_000)
                assert len(client.tasks("emails/err")) == tasks
            dev.process.send_signal(signal.SIGINT)
            assert dev.end() == 0
    other = Dev(tmp_path, "--nodes", "5", "--data-dir", "kept")
    assert other.end() == 2
    assert "--data-dir: kept holds the data of --nodes 3" in other.said


def test_a_taken_port_is_told_before_anything_starts(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        dev = Dev(tmp_path, "--http", taken)
        assert dev.end() == 1
        assert dev.said == f"raftqd: --http: {taken} is taken by another process\n"
    assert list(dev.temporary.iterdir()) == []


def test_a_damaged_list_of_peers_is_told_in_a_sentence(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dev-peers").write_text("nonsense\n")
    dev = Dev(tmp_path, "--nodes", "3", "--data-dir", "data")
    assert dev.end() == 1
    assert dev.said.startswith("raftqd: --data-dir: ")
    assert "dev-peers cannot be read" in dev.said


def test_several_nodes_in_memory_leave_nothing_on_disk(tmp_path):
    status = os.statvfs("/dev/shm")
    with Dev(tmp_path, "--nodes", "3", "--memory") as dev:
        if status.f_bavail * status.f_frsize < 3 * 2**28:  # as containers have it, by default
            assert dev.end() == 1
            assert "3 nodes need 768 MiB in /dev/shm" in dev.said
            return
        dev.until(WELCOMED)
        (data,) = re.findall(r"data +(/dev/shm/\S+)", dev.said)
        assert list(dev.temporary.iterdir()) == []
        assert "durability  none" in dev.said
        dev.process.send_signal(signal.SIGINT)
        assert dev.end() == 0
    assert not Path(data).exists()
