"""A ``raftqd`` of its own on loopback: started, waited for, stopped. For the demo and the benchmarks.

Knows how a node is started and what its first line says, nothing of tasks.
"""

import os
import shlex
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

HTTP_PORT: Final = 7677
TEXT_PORT: Final = 7979
START_S: Final = 30.0  # a loaded machine with two cores takes a tenth of it
STOP_S: Final = 30.0


class NodeNotStartedError(Exception):
    """The node ended, or said nothing in time; the message has the end of its log."""


class LocalNode:
    """One standalone node. Ports are the usual ones where free, else the system's choice."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.log_path = data_dir.with_name(f"{data_dir.name}.log")
        self._process: subprocess.Popen[str] | None = None
        self._facts: dict[str, str] = {}

    @property
    def text_address(self) -> str:
        """``HOST:PORT`` of the text protocol."""
        return self._facts["text"]

    @property
    def http_address(self) -> str:
        """``HOST:PORT`` of HTTP."""
        return self._facts["http"]

    @property
    def pid(self) -> int:
        assert self._process is not None, "the node was not started"
        return self._process.pid

    def start(self) -> Self:
        """Start the node and wait until it serves.

        Raises:
            NodeNotStartedError: it does not.
        """
        command = [
            sys.executable, "-m", "raftq_cluster",
            "--data-dir", str(self.data_dir),
            "--http", f"127.0.0.1:{free_or_any(HTTP_PORT)}",
            "--text", f"127.0.0.1:{free_or_any(TEXT_PORT)}",
            "--peer", "127.0.0.1:0",
        ]  # fmt: skip
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=without_settings(),
                start_new_session=True,  # Ctrl-C is for us: we stop the node when it is time
            )
        self._facts = self._wait_until_ready()
        return self

    def stop(self) -> None:
        """Let the node drain and end; end it the hard way if it does not. Idempotent."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._process = None

    def _wait_until_ready(self) -> dict[str, str]:
        """Read the first line: ``raftq ready node=n1 http=… text=… …``."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        impatience = threading.Timer(START_S, process.kill)
        impatience.start()
        try:
            line = process.stdout.readline()
        finally:
            impatience.cancel()
        if not line.startswith("raftq ready "):
            self.stop()
            said = self.log_path.read_text(errors="replace")[-2000:]
            raise NodeNotStartedError(f"raftqd did not start: {line}{said}")
        return dict(fact.split("=", 1) for fact in shlex.split(line)[2:])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def free_or_any(port: int) -> int:
    """The port if nobody listens there, else 0: any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def without_settings() -> dict[str, str]:
    """This environment without ``RAFTQ_…``: a node or a worker of ours must not follow the user's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAFTQ_")}
