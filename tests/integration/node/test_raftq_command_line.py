"""The ``raftq`` command against a real node: every verb, as processes and pipes, with its exit code."""

import json
import os
import pty
import shlex
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from tests.support.node_process import NodeProcess, child_environment, run_raftq

import raftq


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with NodeProcess(tmp_path_factory.mktemp("cli") / "data") as running:
        yield running


@pytest.fixture(params=["text", "http"])
def command(request, node, tmp_path):
    """Run a verb over either protocol; give what it printed, its rows, and check its exit code."""
    url = node.text_url if request.param == "text" else node.http_url

    def run(*arguments: str, code: int = 0, stdin: str = "") -> str:
        ran = run_raftq(*arguments, cwd=tmp_path, stdin=stdin, env={"RAFTQ_URL": url})
        assert ran.returncode == code, ran.stderr
        assert "Traceback" not in ran.stderr
        return ran.stdout

    return run


@pytest.fixture
def queue(request) -> str:
    """A queue of the test's own."""
    return "/" + request.node.name.replace("[", "/").strip("]")


def rows(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_task_is_put_claimed_renewed_and_done(command, queue):
    (put,) = rows(command("put", queue, '{"to": "ada"}'))
    (claimed,) = rows(command("claim", queue, "--lease", "10m"))
    assert (claimed["id"], claimed["value"], claimed["claims"]) == (put["id"], {"to": "ada"}, 1)
    (renewed,) = rows(command("renew", f"{put['id']}@{claimed['version']}"))
    assert renewed["version"] > claimed["version"]
    command("done", f"{put['id']}@{claimed['version']}", code=3)
    command("done", put["id"])
    command("get", put["id"], code=4)
    command("claim", queue, code=4)


def test_what_one_command_prints_another_takes(command, queue):
    command("put", queue, "--lines", stdin="a\nb\nc\n")
    claimed = command("claim", queue, "--limit", "10")
    assert {row["value"] for row in rows(claimed)} == {"a", "b", "c"}
    command("done", "-", stdin=claimed)
    assert command("tasks", queue) == ""


def test_a_task_fails_into_quarantine_and_is_released_from_it(command, queue):
    id_ = command("put", queue, "1", "-o", "id").strip()
    command("claim", queue)
    (retried,) = rows(command("fail", id_, "--err", "busy", "--retry-in", "0s"))
    assert (retried["queue"], retried["attempt"], retried["err"]) == (queue, 1, "busy")
    command("claim", queue)
    command("release", id_)
    (failed,) = rows(command("fail", id_, "--err", "no mailbox"))
    assert (failed["queue"], failed["err"]) == (f"{queue}/err", "no mailbox")
    assert rows(command("peek", f"{queue}/err"))[0]["value"] == 1
    command("rm", id_)


def test_bytes_go_in_and_come_out_as_they_are(command, queue, tmp_path):
    (tmp_path / "raw").write_bytes(bytes(range(256)))
    id_ = command("put", queue, "--bytes", "--file", "raw", "-o", "id").strip()
    assert rows(command("get", id_))[0]["value_b64"].startswith("AAECAw")
    command("rm", id_)


def test_a_modification_happens_as_a_whole_or_not_at_all(command, queue):
    (task,) = rows(command("put", queue, "1"))
    document = {
        "inserts": [{"queue": f"{queue}/next", "value": 2}],
        "deletes": [{"id": task["id"], "version": task["version"]}],
    }
    command("modify", "-", "--dry-run", stdin=json.dumps(document))
    assert len(rows(command("tasks", queue))) == 1
    command("modify", "-", stdin=json.dumps(document))
    command("modify", "-", stdin=json.dumps(document), code=3)
    assert command("tasks", queue) == ""
    assert len(rows(command("tasks", f"{queue}/next"))) == 1
    command("rm", "--queue", f"{queue}/next", "--yes")


def test_the_same_key_puts_once(command, queue):
    first = command("put", queue, "1", "--idempotency-key", f"key-of-{queue[-4:]}")
    again = command("put", queue, "1", "--idempotency-key", f"key-of-{queue[-4:]}")
    assert first == again
    assert len(rows(command("tasks", queue))) == 1
    command("put", queue, "2", "--idempotency-key", f"key-of-{queue[-4:]}", code=3)
    command("rm", "--queue", queue, "--yes")


def test_an_id_that_is_taken_is_a_conflict(command, queue):
    id_ = f"id-{queue[-4:]}"
    command("put", queue, "1", "--id", id_)
    command("put", queue, "1", "--id", id_, code=3)
    command("rm", id_)


def test_a_paused_queue_gives_nothing_until_it_is_resumed(command, queue):
    command("put", queue, "1")
    command("queues", "set", queue, "--order", "fifo", "--lease", "5m")
    command("queues", "pause", queue)
    command("claim", queue, code=4)
    (settings,) = [row for row in rows(command("queues", "settings")) if row["pattern"] == queue]
    assert settings == {"pattern": queue, "order": "fifo", "paused": True, "lease_ms": 300_000}
    command("queues", "resume", queue)
    command("claim", queue)
    command("queues", "set", queue, "--clear")
    assert queue not in command("queues", "settings")
    command("rm", "--queue", queue, "--yes", code=4)  # the one task is claimed
    command("release", *command("tasks", queue, "-o", "id").split())
    command("rm", "--queue", queue, "--yes")


def test_queues_and_cluster_are_shown(command, queue):
    command("put", queue, "1", "--delay", "1h")
    (shown,) = rows(command("queues", "--exact", queue))
    assert (shown["tasks"], shown["delayed"], shown["ready"]) == (1, 1, 0)
    assert "DELAYED" in command("queues", "-o", "table")
    assert json.loads(command("cluster"))["members"][0]["role"] == "leader"
    assert json.loads(command("cluster", "time"))["now_ms"] > 1_700_000_000_000
    assert len(json.loads(command("version"))) == 2
    assert f'"{queue}"' in command("tail", "--count", "1")
    assert queue[:20] in command("top", "--count", "1", "--prefix", queue)
    assert command("check").startswith("OK: ")
    assert command("check", "--queue", queue, "--max-ready", "0").startswith("OK: ")
    command("rm", "--queue", queue, "--yes")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("put", "a b", "1"), 2),
        (("put", "q" * 300, "1"), 2),
        (("put", "q", "x" * 1_100_000), 2),
        (("get", "ghost"), 4),
        (("done", "ghost@1"), 3),
        (("claim", "nothing/here"), 4),
        (("nonsense",), 2),
    ],
)
def test_a_refusal_has_the_exit_code_of_its_kind(node, tmp_path, arguments, code):
    # One argument of a command line may have 128 KiB, so the large value goes through stdin.
    stdin = arguments[2] if len(arguments) == 3 and len(arguments[2]) > 100_000 else ""
    given = arguments[:2] if stdin else arguments
    ran = run_raftq(*given, cwd=tmp_path, stdin=stdin, env={"RAFTQ_URL": node.text_url})
    assert ran.returncode == code, ran.stderr
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr


def test_nobody_there_exits_with_5_within_the_timeout(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"raftq://127.0.0.1:{unused.getsockname()[1]}"
        ran = run_raftq("queues", "--url", url, "--timeout", "300ms", cwd=tmp_path)
        monitor = run_raftq("check", "--url", url, "--timeout", "300ms", cwd=tmp_path)
    assert ran.returncode == 5
    assert "next: " in ran.stderr
    assert monitor.returncode == 2
    assert monitor.stdout.startswith("CRITICAL: ")


def on_a_terminal(node: NodeProcess, keys: bytes, *arguments: str) -> tuple[int, str]:
    """Run a verb on a terminal, type some keys once it has said something, give code and screen."""
    pid, screen = pty.fork()
    if pid == 0:
        env = child_environment({"RAFTQ_URL": node.text_url, "TERM": "xterm"})
        os.execve(sys.executable, [sys.executable, "-m", "raftq.cli", *arguments], env)
    shown = b""
    while True:
        try:
            piece = os.read(screen, 65_536)
        except OSError:  # how Linux tells that the other end of a terminal is closed
            break
        if not shown and keys:
            os.write(screen, keys)
        shown += piece
    os.close(screen)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_deleting_a_whole_queue_is_asked_about(node):
    with raftq.Client(node.text_url) as client:
        client.put("precious", 1)
        code, screen = on_a_terminal(node, b"n\n", "rm", "--queue", "precious")
        assert (code, len(client.tasks("precious"))) == (1, 1)
        assert "Delete 1 tasks of precious? [y/N]" in screen
        assert "nothing was changed" in screen
        code, screen = on_a_terminal(node, b"y\n", "rm", "--queue", "precious")
        assert (code, client.tasks("precious")) == (0, [])


def test_a_terminal_gets_a_table_and_q_leaves_the_live_one(node):
    with raftq.Client(node.text_url) as client:
        task = client.put("seen", {"x": 1})
        code, screen = on_a_terminal(node, b"", "peek", "seen")
        assert code == 0
        assert "VALUE" in screen
        assert task.id in screen
        assert "1 task" in screen
        code, screen = on_a_terminal(node, b"q", "top", "--interval", "1m")
        assert code == 0
        assert "seen" in screen


class Mute(BaseHTTPRequestHandler):
    """Takes a request, and hangs up without an answer."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.close_connection = True

    def log_message(self, *_args):
        pass


def test_an_unknown_outcome_exits_with_7_and_tells_the_key(tmp_path):
    with HTTPServer(("127.0.0.1", 0), Mute) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        ran = run_raftq("put", "q", "1", "--url", url, "--timeout", "500ms", cwd=tmp_path)
        server.shutdown()
    assert ran.returncode == 7, ran.stderr
    assert "--idempotency-key " in ran.stderr


def test_a_reader_that_goes_away_is_no_error(node, tmp_path):
    with raftq.Client(node.text_url) as client:
        client.put_many([raftq.Insert("many", "x" * 500) for _ in range(1_000)])
    shell = (
        f"{shlex.quote(sys.executable)} -m raftq.cli tasks many --values --limit 1000; echo $? >&2"
    )
    env = child_environment({"RAFTQ_URL": node.text_url})
    ran = subprocess.run(
        ["bash", "-c", f"({shell}) | head -c 100"],
        env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert ran.stderr == "141\n"


def test_work_runs_a_command_on_every_task_and_drains(node, tmp_path):
    with raftq.Client(node.text_url) as client:
        client.put_many([raftq.Insert("jobs", value) for value in ("good", "again", "bad")])
        # A task that was tried before succeeds, so one retry is enough.
        script = 'read value; case "$value/$RAFTQ_TASK_ATTEMPT" in'
        script += " *again*/0) exit 75;; *bad*) echo no such luck >&2; exit 3;; esac"
        worker = subprocess.Popen(
            [sys.executable, "-m", "raftq.cli", "work", "jobs", "--exec", script],
            env=child_environment({"RAFTQ_URL": node.text_url}),
            cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert client.wait_empty("jobs", timeout_ms=30_000)
            worker.send_signal(signal.SIGTERM)
            _, err = worker.communicate(timeout=30)
        finally:
            worker.kill()
        assert worker.returncode == 0
        assert "2 done, 1 to be tried again, 1 moved" in err
        (failed,) = client.tasks("jobs/err")
        assert failed.err == "exit code 3\nno such luck"


def test_a_killed_worker_costs_a_lease_and_no_task(node, tmp_path):
    with raftq.Client(node.text_url) as client:
        client.put("crash", 1)
        started = tmp_path / "started"
        command = [
            sys.executable, "-m", "raftq.cli", "work", "crash", "--lease", "1s",
            "--exec", f"echo x >> {started}; test $RAFTQ_TASK_CLAIMS -gt 1 || sleep 600",
        ]  # fmt: skip
        env = child_environment({"RAFTQ_URL": node.text_url})
        first = subprocess.Popen(command, env=env, cwd=tmp_path, start_new_session=True)
        try:
            while not client.queues(exact="crash")[0].claimed or not started.exists():
                pass
        finally:
            first.kill()
            first.wait()
        second = subprocess.Popen(command, env=env, cwd=tmp_path)
        try:
            assert client.wait_empty("crash", timeout_ms=30_000)
        finally:
            second.send_signal(signal.SIGTERM)
            assert second.wait(30) == 0


def test_bench_measures_a_node(node, tmp_path):
    ran = run_raftq(
        "bench", "--for", "300ms", "--in-flight", "8", "--url", node.text_url, cwd=tmp_path
    )
    result = json.loads(ran.stdout)
    assert result["cycles"] >= 8
    assert 0 < result["p50_ms"] <= result["p99_ms"]
