"""What ``docs/migrating.md`` says of four other queues' commands is run, line by line, against a node."""

import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.node_process import (
    REPOSITORY,
    NodeProcess,
    child_environment,
    run_raftq,
    run_raftqd,
)

import raftq

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

GUIDE = (REPOSITORY / "docs" / "migrating.md").read_text("utf-8")
ROWS = re.findall(r"^\| (.+?) \| (.+) \|$", GUIDE, re.MULTILINE)
CODE = [(theirs, ours[1:-1]) for theirs, ours in ROWS if re.fullmatch(r"`[^`]+`", ours)]
WORDS = ("unchanged", "not yet", "not here", "not needed", "every member", "raftq", "---")
ME = {"RAFTQ_CLAIMANT": "me"}
PLAN = '{"inserts": [{"queue": "q", "value": 1}]}'


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path_factory.mktemp("migrating") / "data") as node:
        yield node


def test_every_line_is_code_or_says_why_there_is_none() -> None:
    assert len(CODE) > 60
    said = [ours for _, ours in ROWS if not ours.startswith("`")]
    assert [ours for ours in said if not ours.startswith(WORDS)] == []


@pytest.mark.parametrize(("theirs", "ours"), CODE, ids=[theirs for theirs, _ in CODE])
def test_the_line_does_something(theirs: str, ours: str, node: NodeProcess, tmp_path: Path) -> None:
    if ours.startswith("raftqd "):
        help_text = run_raftqd("--help", cwd=tmp_path).stdout
        assert [flag for flag in ours.split()[1:] if flag not in help_text] == []
    elif ours.startswith("raftq "):
        run_command(ours, node, tmp_path)
    elif ours.startswith("GET "):
        with urllib.request.urlopen(node.http_url + ours[4:], timeout=20) as answer:
            assert answer.status == 200
    else:
        run_python(ours, node)


def run_python(code: str, node: NodeProcess) -> Any:
    with raftq.Client(node.http_url, claimant="me") as client:
        for queue in client.queues():
            client.delete(*client.tasks(queue.name, limit=1_000, omit_values=True))
        client.put("/q", {"n": 0})
        client.put("q/err", 1)
        (task,) = client.claim("/q")
        return eval(code, {"raftq": raftq, "client": client, "task": task})


def run_command(line: str, node: NodeProcess, folder: Path) -> None:
    (folder / "plan.json").write_text(PLAN)
    with raftq.Client(node.http_url, claimant="me") as client:
        if not client.docs("/ns", id="d1"):
            client.modify(doc_inserts=[raftq.DocInsert("/ns", "k", 1, id="d1")])
        client.put("q", 1)
        client.put("q/err", 1)
    words = [
        node.http_url if word.startswith("http://") else word for word in shlex.split(line)[1:]
    ]
    address = () if "--url" in words else ("--url", node.http_url)
    if words[0] == "work":
        work(node, [*words, *address], folder)
        return
    ran = run_raftq(*words, *address, cwd=folder, env=ME)
    assert ran.returncode in (0, 4), ran.stderr
    assert ran.returncode == 0 or "Traceback" not in ran.stderr


def work(node: NodeProcess, words: list[str], folder: Path) -> None:
    """Let a worker work until its queue is empty, and stop it as a terminal does."""
    command = [sys.executable, "-m", "raftq.cli", *words]
    with subprocess.Popen(command, cwd=folder, env=child_environment(ME)) as worker:
        with raftq.Client(node.http_url) as client:
            is_empty = client.wait_empty("q", timeout_ms=60_000)
        worker.send_signal(signal.SIGINT)
        worker.wait(30)
    assert is_empty
    assert worker.returncode == 0
