"""A real ``raftqd`` child process on ports of its own, for tests that need one.

    with NodeProcess(tmp_path / "data") as node:
        client = raftq.Client(node.text_url)
        node.kill()      # SIGKILL, as a power cut would
        node.start()     # the same data directory, new ports
        node.stop()      # SIGTERM, waits for the drain, gives the exit code

Nothing of the caller's ``RAFTQ_…`` environment reaches the child; its logs go to a file beside the
data directory. Processes are ended by their own id only.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ready_line import START_S, facts_of, first_line, without_settings

REPOSITORY: Final = Path(__file__).resolve().parents[2]
STOP_S: Final = 30.0
ENDING_S: Final = 1.0  # from the last word of a process to its end


class NodeFailedError(AssertionError):
    """The child ended, or stayed silent, before it said that it is ready. ``code`` is that of its end, if it ended by itself."""

    code: int | None = None


class NodeProcess:
    """One ``raftqd``. Ports are the system's choice unless a flag says otherwise.

    ``program`` is the module that is run: ``raftqd`` itself, or one with something planted. ``before`` is a
    command that becomes the node, in another namespace say: it must not stay its parent.
    """

    def __init__(
        self,
        data_dir: Path,
        *flags: str,
        env: Mapping[str, str] | None = None,
        program: str = "raftq_cluster",
        before: Sequence[str] = (),
    ) -> None:
        self.data_dir = data_dir
        self._program = program
        self._before = tuple(before)
        self.log_path = data_dir.with_name(data_dir.name + ".log")
        self.facts: dict[str, str] = {}  # of the ready line: node, http, text, role, data
        self._flags = flags
        self._env = child_environment(env)
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the node and wait until it is ready.

        Raises:
            NodeFailedError: it ended first, or was not ready in time; its logs are in the message.
        """
        command = [
            *self._before, sys.executable, "-m", self._program, "--data-dir", str(self.data_dir),
            "--http", "127.0.0.1:0", "--text", "127.0.0.1:0", "--peer", "127.0.0.1:0", *self._flags,
        ]  # fmt: skip
        with self.log_path.open("ab") as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._env,
                cwd=self.data_dir.parent,
            )
        line = first_line(self._child)
        self.facts = facts_of(line)
        if not self.facts:
            error = NodeFailedError(f"raftqd did not start: {line!r}\n{self.logs()}")
            with suppress(subprocess.TimeoutExpired):
                error.code = self._child.wait(ENDING_S)
            self.kill()
            raise error
        return self

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._child is not None, "the node was not started"
        return self._child

    @property
    def is_running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def http(self) -> tuple[str, int]:
        return _address(self.facts["http"])

    @property
    def text(self) -> tuple[str, int]:
        return _address(self.facts["text"])

    @property
    def http_url(self) -> str:
        return "http://" + self.facts["http"]

    @property
    def text_url(self) -> str:
        return "raftq://" + self.facts["text"]

    def logs(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def signal(self, number: int) -> None:
        self._running.send_signal(number)

    def wait(self, timeout_s: float = STOP_S) -> int:
        """Wait until the node has ended by itself, and give its exit code."""
        code = self._running.wait(timeout_s)
        self._close_pipe()
        return code

    def stop(self) -> int:
        """Ask the node to drain, wait for it, and give its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End the node at once, as a power cut would. Does nothing if it has ended."""
        if self._child is not None:
            if self._child.poll() is None:
                self._child.kill()
                self._child.wait()
            self._close_pipe()

    def _close_pipe(self) -> None:
        if self._running.stdout is not None:
            self._running.stdout.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


def run_raftqd(
    *flags: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a ``raftqd`` that is expected to end by itself: a refusal, ``--help``, ``config show``."""
    return subprocess.run(
        [sys.executable, "-m", "raftq_cluster", *flags],
        cwd=cwd,
        env=child_environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )


def run_raftq(
    *arguments: str,
    cwd: Path,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    timeout_s: float = START_S,
) -> subprocess.CompletedProcess[str]:
    """Run the ``raftq`` command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "raftq.cli", *arguments],
        cwd=cwd,
        env=child_environment(env),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the environment of a child: the caller's, less ``RAFTQ_…``, with both source roots."""
    env = without_settings()
    roots = [str(REPOSITORY / "client"), str(REPOSITORY / "cluster"), str(REPOSITORY)]
    if inherited := env.get("PYTHONPATH"):
        roots.append(inherited)
    env["PYTHONPATH"] = os.pathsep.join(roots)
    env.update(extra or {})
    return env


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
