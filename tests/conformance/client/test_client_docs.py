"""Every Python example of the documents does what it says, against a node."""

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

import raftq
from raftq_cluster.backends.memory import MemoryBackend
from raftq_cluster.servers.text.server import TextServer
from raftq_cluster.service.doors import Doors
from raftq_cluster.service.facade import Service

ROOT: Final = Path(__file__).resolve().parents[3]
DOCUMENTS: Final = ("docs/client.md", "docs/worker.md", "README.md")
DEFAULT_URL: Final = "raftq://127.0.0.1:7979"
WAIT_MS: Final = 30_000


def examples() -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        text = (ROOT / document).read_text("utf-8")
        for number, code in enumerate(
            re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL), 1
        ):
            yield f"{document}-{number}", code


EXAMPLES: Final = dict(examples())


@contextmanager
def node() -> Iterator[str]:
    """A node in a thread of its own; gives its URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> tuple[Service, TextServer]:
        service = Service(MemoryBackend())
        await service.start()
        server = TextServer(Doors(service), "127.0.0.1", 0)
        await server.start()
        return service, server

    service, server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    host, port = server.address
    try:
        yield f"raftq://{host}:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(1.0), loop).result(10)
        asyncio.run_coroutine_threadsafe(service.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with node() as url:
        monkeypatch.setenv("RAFTQ_URL", url)
        yield url


@pytest.fixture
def worker_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``Worker.run`` end when its queues are empty."""
    run = raftq.Worker.run

    def run_until_empty(worker: raftq.Worker) -> None:
        def stop() -> None:
            with raftq.Client() as client:
                client.wait_empty(*worker.queues, timeout_ms=WAIT_MS)
            worker.stop()

        threading.Thread(target=stop).start()
        run(worker)

    monkeypatch.setattr(raftq.Worker, "run", run_until_empty)


def test_the_documents_have_examples():
    assert len(EXAMPLES) >= 10


@pytest.mark.usefixtures("worker_that_ends")
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_works(name, url):
    code = EXAMPLES[name].replace(DEFAULT_URL, url)
    names: dict[str, object] = {"__name__": "example"}
    exec(compile(code, name, "exec"), names)
    for given, test in list(names.items()):
        if given.startswith("test_"):
            test()


def test_the_pytest_fixture_gives_a_queue(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["raftq.testing.pytest_plugin"]\n')
    (tmp_path / "test_mine.py").write_text(
        "def test_it(raftq_queue):\n"
        "    with raftq_queue.client() as client:\n"
        "        client.put('q', 1, delay_ms=5_000)\n"
        "        assert client.claim('q') == []\n"
        "        raftq_queue.clock.jump(5_000)\n"
        "        assert client.claim('q')[0].value == 1\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert "1 passed" in run.stdout, run.stdout + run.stderr
