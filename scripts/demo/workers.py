"""Worker processes: started, frozen, killed, stopped. Knows process ids, nothing of tasks."""

import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ready_line import without_settings

SCRIPTS: Final = Path(__file__).resolve().parents[1]
STOP_S: Final = 15.0  # a worker finishes what it holds: a file, a merge


class WorkerDiedError(Exception):
    """A worker ended by itself; the message has the end of its log."""


class WorkerProcess:
    """One mapper or reducer. Its name is the claimant of what it claims."""

    def __init__(self, role: str, name: str, url: str, log_dir: Path) -> None:
        self.name = name
        self._log_path = log_dir / f"{name}.log"
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"demo.{role}", name, url],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**without_settings(), "PYTHONPATH": str(SCRIPTS)},
                start_new_session=True,  # Ctrl-C is for us: we stop the workers
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def freeze(self) -> None:
        """Let it do nothing until it is thawed."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """``kill -9``: it has no chance to say or finish anything."""
        self._process.kill()
        self._process.wait()

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            WorkerDiedError: it does not.
        """
        if self._process.poll() is not None:
            said = self._log_path.read_text(errors="replace")[-2000:]
            raise WorkerDiedError(f"{self.name} ended with {self._process.returncode}: {said}")

    def ask_to_stop(self) -> None:
        self._process.terminate()

    def wait(self) -> None:
        """Wait for its end, and bring it about if it does not come."""
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()


class Workforce:
    """All worker processes of a job; ends them when its ``with`` block ends."""

    def __init__(self, url: str, log_dir: Path) -> None:
        self._url = url
        self._log_dir = log_dir
        self._workers: list[WorkerProcess] = []

    def hire(self, role: str, name: str) -> WorkerProcess:
        """Start a worker: role ``mapper`` or ``reducer``."""
        # Each worker begins at another node; it knows the others.
        scheme, _, addresses = self._url.partition("://")
        nodes = addresses.split(",")
        first = len(self._workers) % len(nodes)
        url = f"{scheme}://{','.join(nodes[first:] + nodes[:first])}"
        worker = WorkerProcess(role, name, url, self._log_dir)
        self._workers.append(worker)
        return worker

    def kill(self, worker: WorkerProcess) -> None:
        """``kill -9`` one of them."""
        self._workers.remove(worker)
        worker.kill()

    def check(self) -> None:
        """Make sure that all of them run.

        Raises:
            WorkerDiedError: one does not.
        """
        for worker in self._workers:
            worker.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.thaw()
            worker.ask_to_stop()
        for worker in self._workers:
            worker.wait()
