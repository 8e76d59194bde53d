"""A real ``raftqd``: its first line, its end, its refusals, and what survives them."""

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.node_process import (
    NodeProcess,
    child_environment,
    run_raftqd,
)

import raftq
from free_ports import free_ports

MEMORY = ("--backend", "memory")


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """One node for tests that leave no trace."""
    with NodeProcess(tmp_path_factory.mktemp("node") / "data") as running:
        yield running


def said(node: NodeProcess, line: bytes) -> bytes:
    """Send a line to the text port and give the reply."""
    with socket.create_connection(node.text, timeout=10) as connection:
        connection.sendall(line)
        return connection.makefile("rb").readline()


# --- starting ------------------------------------------------------------------------------------


def test_the_ready_line_has_the_real_addresses(node):
    assert list(node.facts) == ["node", "http", "text", "peer", "role", "data"]
    assert node.facts["role"] == "leader"
    assert node.facts["data"] == str(node.data_dir)
    assert said(node, b"1 ping\n") == b"1 pong\n"
    with socket.create_connection(node.http, timeout=10) as connection:
        connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert b" 200 " in connection.makefile("rb").readline()


def test_the_text_port_follows_its_flags(tmp_path):
    flags = ("--text-rate-max", "1", "--acked-ends", "space")
    with NodeProcess(tmp_path / "data", *MEMORY, *flags) as node:
        lines = b"1 enq q 1 x\n2 deq q\n3 ack q 1\n"
        with socket.create_connection(node.text, timeout=10) as connection:
            connection.sendall(lines)
            told = connection.makefile("rb")
            assert told.readline() == b"1 enqed q 1\n"
            assert told.readline() == b"2 deqed q 1 1 x\n"
            assert told.read(12) == b"3 acked q 1 "


def test_a_data_directory_with_a_space_is_quoted_in_the_ready_line(tmp_path):
    with NodeProcess(tmp_path / "my data") as node:
        assert node.facts["data"] == str(tmp_path / "my data")


def test_a_node_keeps_its_name(tmp_path):
    with NodeProcess(tmp_path / "data", "--node-id", "n7") as node:
        assert node.stop() == 0
    with NodeProcess(tmp_path / "data") as node:
        assert node.facts["node"] == "n7"


def test_settings_come_from_the_file_in_the_working_directory(tmp_path):
    (tmp_path / "raftq.toml").write_text('node-id = "from-file"\nlog-level = "debug"\n')
    with NodeProcess(tmp_path / "data") as node:
        assert node.facts["node"] == "from-file"


def test_it_runs_without_uvloop(tmp_path):
    (tmp_path / "uvloop.py").write_text("raise ImportError('not here')")
    path = os.pathsep.join([str(tmp_path), child_environment()["PYTHONPATH"]])
    with NodeProcess(tmp_path / "data", *MEMORY, env={"PYTHONPATH": path}) as node:
        assert said(node, b"1 ping\n") == b"1 pong\n"
        assert node.stop() == 0


def test_a_service_manager_is_told_ready_and_stopping(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with NodeProcess(tmp_path / "data", *MEMORY, env=env) as node:
            assert manager.recv(100) == b"READY=1"
            assert node.stop() == 0
            assert manager.recv(100) == b"STOPPING=1"


def test_a_node_serves_even_if_nobody_reads_its_first_line(tmp_path):
    (port,) = free_ports(1)
    ports = ("--http", "127.0.0.1:0", "--text", f"127.0.0.1:{port}")
    read_end, write_end = os.pipe()
    os.close(read_end)
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "raftq_cluster", *MEMORY, *ports]
        node = subprocess.Popen(
            command, stdout=write_end, stderr=log, cwd=tmp_path, env=child_environment()
        )
    os.close(write_end)
    try:
        with raftq.Client(f"raftq://127.0.0.1:{port}") as client:
            assert client.cluster().leader == "n1"
        node.send_signal(signal.SIGTERM)
        assert node.wait(30) == 0
    finally:
        node.kill()
    assert "Traceback" not in (tmp_path / "log").read_text()


# --- refusing to start ---------------------------------------------------------------------------


def refused(result: subprocess.CompletedProcess, code: int, words: str) -> None:
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("raftqd: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--peers", "127.0.0.1:7678"), "No such option '--peers'"),
        (("--http", "7677"), "--http: '7677' is not HOST:PORT"),
        (("--text", "0.0.0.0:0"), "--text: 0.0.0.0:0 can be reached from other machines"),
        (("--backend", "postgres"), "--backend postgres needs --postgres-dsn"),
        (("--backend", "sqlite"), "--backend: 'sqlite' is not "),
        (("--config", "none.toml"), "--config: none.toml cannot be read"),
    ],
)
def test_a_bad_flag_is_one_sentence(tmp_path, flags, words):
    refused(run_raftqd(*flags, cwd=tmp_path), 2, words)


@pytest.mark.parametrize("flag", ["http", "text"])
def test_a_taken_port_is_one_sentence(node, tmp_path, flag):
    taken = node.facts[flag]
    free = ("--http", "127.0.0.1:0", "--text", "127.0.0.1:0")
    result = run_raftqd(*MEMORY, *free, f"--{flag}", taken, cwd=tmp_path)
    refused(result, 1, f"--{flag}: {taken} is taken by another process")


def test_a_data_directory_serves_one_node_at_a_time(node, tmp_path):
    ports = ("--http", "127.0.0.1:0", "--text", "127.0.0.1:0")
    result = run_raftqd("--data-dir", str(node.data_dir), *ports, cwd=tmp_path)
    refused(result, 1, "in use by another node")
    assert said(node, b"1 ping\n") == b"1 pong\n"


def test_a_data_directory_of_something_else_is_not_touched(tmp_path):
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "cat.jpg").write_bytes(b"meow")
    result = run_raftqd("--data-dir", str(foreign), cwd=tmp_path)
    refused(result, 1, str(foreign))
    assert [path.name for path in foreign.iterdir()] == ["cat.jpg"]


def test_a_data_directory_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "data").write_text("not a directory")
    refused(run_raftqd("--data-dir", "data", cwd=tmp_path), 1, "data")


def test_another_name_for_a_node_that_has_one_is_refused(tmp_path):
    with NodeProcess(tmp_path / "data", "--node-id", "n1") as node:
        node.stop()
    result = run_raftqd("--data-dir", str(tmp_path / "data"), "--node-id", "n2", cwd=tmp_path)
    refused(result, 1, "n2")


def test_damage_in_the_middle_of_the_journal_stops_the_start(tmp_path):
    with NodeProcess(tmp_path / "data") as node, raftq.Client(node.text_url) as client:
        for number in range(20):
            client.put("q", number)
        node.kill()
    (journal,) = [
        path
        for path in (tmp_path / "data").rglob("*")
        if path.is_file() and path.stat().st_size > 100_000
    ]
    data = bytearray(journal.read_bytes())
    end = len(data.rstrip(b"\0"))
    data[end // 2] ^= 0xFF
    journal.write_bytes(data)
    result = run_raftqd("--data-dir", str(tmp_path / "data"), cwd=tmp_path)
    refused(result, 1, str(tmp_path / "data"))


@pytest.mark.parametrize("module", ["structlog", "pysyncobj", "prometheus_client"])
def test_an_installation_of_the_client_alone_says_what_is_missing(tmp_path, module):
    (tmp_path / f"{module}.py").write_text(f"raise ImportError('No module named {module}')")
    path = os.pathsep.join([str(tmp_path), child_environment()["PYTHONPATH"]])
    result = run_raftqd("--data-dir", "data", cwd=tmp_path, env={"PYTHONPATH": path})
    refused(result, 1, f"No module named {module}: a node needs pip install 'raftq[server]'")


# --- stopping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_exits_with_0(tmp_path, number):
    with NodeProcess(tmp_path / "data") as node, raftq.Client(node.text_url) as client:
        client.put("q", 1)
        node.signal(number)
        assert node.wait() == 0
        assert "node stopping" in node.logs()


def test_a_waiting_claim_is_answered_when_the_node_stops(tmp_path):
    with NodeProcess(tmp_path / "data") as node:
        with socket.create_connection(node.text, timeout=20) as connection:
            body = b'{"queues":["q"],"wait_ms":60000}'
            connection.sendall(b"1 ping\n2 call claim %d %s\n" % (len(body), body))
            replies = connection.makefile("rb")
            assert replies.readline() == b"1 pong\n"
            node.signal(signal.SIGTERM)
            assert replies.read(2) == b"2 "
        assert node.wait() == 0


def test_a_second_signal_ends_at_once(tmp_path):
    with NodeProcess(tmp_path / "data", "--drain-ms", "600000") as node:
        connection = socket.create_connection(node.http, timeout=20)
        with connection:
            # A request that never ends keeps the drain waiting.
            connection.sendall(b"POST /v1/claim HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            node.signal(signal.SIGTERM)
            wait_for_log(node, "node stopping")
            node.signal(signal.SIGTERM)
            assert node.wait() == 128 + signal.SIGTERM


def wait_for_log(node: NodeProcess, words: str) -> None:
    with node.log_path.open() as log:
        while words not in log.read():
            log.seek(0)
            os.sched_yield()


# --- surviving -----------------------------------------------------------------------------------


def test_tasks_survive_kill_9_and_restart(tmp_path):
    node = NodeProcess(tmp_path / "data").start()
    try:
        with raftq.Client(node.text_url) as client:
            for number in range(50):
                client.put("q", number)
            done = client.claim("q", limit=10)
            client.done(*done)
            held = client.claim("q", limit=5, lease_ms=600_000)
            client.configure("q", order="fifo")
        node.kill()
        node.start()
        with raftq.Client(node.text_url) as client:
            (queue,) = client.queues()
            assert (queue.tasks, queue.claimed, queue.order) == (40, 5, "fifo")
            left = {task.value for task in client.tasks("q", limit=100)}
            assert left == set(range(50)) - {task.value for task in done}
            assert client.task(held[0].id).version == held[0].version
    finally:
        node.kill()


def test_snapshots_are_as_frequent_as_was_said(tmp_path):
    def last_entry_in_a_snapshot(data: Path, *flags: str) -> int:
        with NodeProcess(data, *flags) as node, raftq.Client(node.text_url) as client:
            for _ in range(20):
                client.put("q", "x" * 20_000)
            node.stop()
        return max(int(path.name.partition("-")[0]) for path in (data / "snapshots").iterdir())

    assert last_entry_in_a_snapshot(tmp_path / "often", "--snapshot-bytes", "100KiB") > 0
    assert last_entry_in_a_snapshot(tmp_path / "seldom") == 0


def test_a_memory_node_keeps_nothing(tmp_path):
    with NodeProcess(tmp_path / "data", *MEMORY) as node:
        assert node.facts["data"] == "memory"
        with raftq.Client(node.text_url) as client:
            client.put("q", 1)
            assert client.cluster().durability == "memory"
    assert not (tmp_path / "data").exists()


def test_others_cannot_read_the_data(node):
    assert stat.S_IMODE(node.data_dir.stat().st_mode) & 0o077 == 0


GARBAGE = [
    b"\0" * 5_000,
    b"\xff\xfe\xfd" * 3_000,
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /v1/claim HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /v1/claim HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nnope!",
    b"1 call claim 999999999999 {}\n",
    b"1 call nothing 2 {}\n",
    b"1 enq q 5\n",
    b"99999999999999999999999999 deq q\n",
    b"x" * 200_000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of TLS
]


@pytest.mark.parametrize("port", ["http", "text"])
def test_garbage_disturbs_nobody(node, port):
    with raftq.Client(node.text_url) as client:
        before = client.put("garbage", 1)
        for garbage in GARBAGE:
            with socket.create_connection(getattr(node, port), timeout=10) as connection:
                connection.sendall(garbage)
        assert client.task(before.id) == before
        client.delete(before)
    assert "Traceback" not in node.logs()
    assert '"level": "error"' not in node.logs()
