"""A node that runs out of file descriptors serves on whoever is connected, and recovers."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[3]
ANSWER_S = 20.0
SPARE = 8
PEERS = 40
HTTP = b"GET /livez HTTP/1.1\r\nHost: n\r\n\r\n"
TEXT = b"1 ping\n"
TRACES_MAX = 20  # asyncio logs one a second while it cannot accept


class Child(NamedTuple):
    """A serving process: its ports, and where it logs."""

    ports: tuple[int, int]
    log: Path


@pytest.fixture(params=["asyncio", "uvloop"])
def child(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Child]:
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.few_descriptors", request.param, str(SPARE)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        http, text = process.stdout.readline().split()
        yield Child((int(http), int(text)), log)
        process.stdin.close()
        assert process.wait(ANSWER_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S)


def ask(peer: socket.socket, words: bytes) -> bytes:
    peer.sendall(words)
    return peer.recv(4_096)


@pytest.mark.parametrize(("which", "words"), [(0, HTTP), (1, TEXT)], ids=["http", "text"])
def test_a_server_without_descriptors_serves_on_and_recovers(
    child: Child, which: int, words: bytes
) -> None:
    with ExitStack() as opened:
        served = opened.enter_context(connect(child.ports[which]))
        before = ask(served, words)
        with ExitStack() as greedy:
            for _ in range(PEERS):
                greedy.enter_context(connect(child.ports[which]))
            during = ask(served, words)
        after = ask(served, words)
        late = opened.enter_context(connect(child.ports[which]))
        anew = ask(late, words)
    assert before != b""
    assert child.log.read_text().count("Traceback") < TRACES_MAX
    assert [answer[:12] for answer in (during, after, anew)] == [before[:12]] * 3
