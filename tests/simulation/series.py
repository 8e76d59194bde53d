"""Many seeds, unattended: each in a process of its own, some at a time, and what came of each in a file.

The file has one line of JSON for each run; a series that was interrupted goes on where it ended. Lines of another version
of the code, or of runs of another kind, are left alone and do not count.
"""

import json
import multiprocessing
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Final

from tests.simulation.options import Options
from tests.simulation.summary import Summary

ROOT: Final = Path(__file__).resolve().parents[2]
# All that a run depends on, but for the libraries.
SOURCES: Final = ("client/raftq", "cluster/raftq_cluster", "tests/simulation", "tests/support")
# A run takes seconds of CPU, and to make a broken one smaller some minutes; on a busy machine much more wall time.
RUN_CPU_S: Final = 1_800
RUN_WALL_S: Final = 6 * 3_600.0
PROGRESS_S: Final = 30.0
_ENDED_S: Final = 10.0  # for a process that has told its result

Run = Callable[[Options], Summary]
Say = Callable[[str], None]


def version(root: Path = ROOT) -> str:
    """A hash of the code that runs."""
    found = blake2b(digest_size=8)
    for source in SOURCES:
        for path in sorted((root / source).rglob("*.py")):
            found.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


class Results:
    """The file of a series of runs. ``kind`` names what is run: only lines of the same kind count."""

    def __init__(self, path: Path | None, kind: str) -> None:
        self._path = path
        self._kind = kind

    def read(self) -> Iterator[Summary]:
        """What is known already; a line that was cut off is not."""
        if self._path is None or not self._path.exists():
            return
        for line in self._path.read_text("utf-8").splitlines():
            kind, _, data = line.partition(" ")
            if kind != self._kind:
                continue
            try:
                yield Summary.of_line(data)
            except (json.JSONDecodeError, TypeError):
                continue

    def append(self, summary: Summary) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            # A line of its own, whatever an interrupted series has left.
            file.write(("\n" if file.tell() and not self._ends_well() else "")
                       + f"{self._kind} {summary.line()}\n")  # fmt: skip

    def _ends_well(self) -> bool:
        assert self._path is not None
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


@dataclass
class _Job:
    options: Options
    process: ForkProcess
    result: "Connection[None, Summary]"
    began_s: float


def _carry_out(run: Run, options: Options, result: "Connection[Summary, None]") -> None:
    """In the process of a run."""
    # A terminal tells all, and so does who ends a group: the process that started this one ends it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CPU, (RUN_CPU_S, RUN_CPU_S))
    began_s, before_s = time.monotonic(), _cpu_s()
    try:
        summary = run(options)
    except BaseException:  # noqa: BLE001 - whatever it is, it is told
        why = ["the simulation failed", *traceback.format_exc().splitlines()]
        summary = Summary(options.seed, options.command(), broken=why, report=why)
    summary.cpu_s, summary.wall_s = _cpu_s() - before_s, time.monotonic() - began_s
    result.send(summary)
    result.close()


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Series:
    """``run`` is carried out in forked processes, ``jobs`` at a time."""

    def __init__(self, run: Run, results: Results, say: Say, *, jobs: int) -> None:
        self._run = run
        self._results = results
        self._say = say
        self._jobs = jobs
        self._running: list[_Job] = []
        self.summaries: list[Summary] = []

    def carry_out(self, todo: Sequence[Options], *, is_stopping_at_first: bool = False) -> bool:
        """Run all that the file does not have. Whether all were run; ``summaries`` has what came of them."""
        seeds = {options.seed for options in todo}
        known = self._known(seeds)
        self.summaries = list(known.values())
        if known:
            self._say(f"{len(known)} of {len(seeds)} seeds were run before, and count")
        waiting = iter([options for options in todo if options.seed not in known])
        total, began_s, told_s = len(todo), time.monotonic(), time.monotonic()
        try:
            self._fill(waiting)
            while self._running:
                ended = self._wait()
                for summary in ended:
                    self._take(summary)
                if is_stopping_at_first and any(summary.broken for summary in ended):
                    break
                self._fill(waiting)
                if time.monotonic() - told_s > PROGRESS_S:
                    told_s = time.monotonic()
                    self._progress(total, len(known), told_s - began_s)
        finally:
            self._end_all()
        return len(self.summaries) == total

    def _known(self, seeds: Container[int]) -> dict[int, Summary]:
        """What came of these seeds. One that two series have run counts once, and as broken if it was in either."""
        known: dict[int, Summary] = {}
        for summary in self._results.read():
            if summary.seed in seeds and (summary.broken or summary.seed not in known):
                known[summary.seed] = summary
        return known

    def _fill(self, waiting: Iterable[Options]) -> None:
        while len(self._running) < self._jobs:
            options = next(iter(waiting), None)
            if options is None:
                return
            self._running.append(self._start(options))

    def _start(self, options: Options) -> _Job:
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_carry_out, args=(self._run, options, there), daemon=True)
        process.start()
        there.close()
        return _Job(options, process, here, time.monotonic())

    def _wait(self) -> list[Summary]:
        """What has ended, perhaps nothing yet."""
        ready = wait([job.result for job in self._running], timeout=PROGRESS_S)
        ended: list[Summary] = []
        for job in list(self._running):
            late = time.monotonic() - job.began_s > RUN_WALL_S
            if job.result in ready or late:
                self._running.remove(job)
                ended.append(self._result_of(job))
        return ended

    def _result_of(self, job: _Job) -> Summary:
        try:
            if job.result.poll():
                return job.result.recv()
            why = f"it did not end in {RUN_WALL_S:.0f} s"
        except EOFError:
            why = f"its process ended without a word, or after {RUN_CPU_S} s of CPU"
        finally:
            self._end(job)
        return Summary(job.options.seed, job.options.command(), broken=[why], report=[why])

    def _end(self, job: _Job) -> None:
        job.result.close()
        job.process.join(_ENDED_S)
        if job.process.is_alive():
            job.process.kill()
            job.process.join()
        job.process.close()

    def _end_all(self) -> None:
        for job in self._running:
            job.process.kill()
            self._end(job)
        self._running.clear()

    def _take(self, summary: Summary) -> None:
        self._results.append(summary)
        self.summaries.append(summary)
        for line in summary.report:
            self._say(line)

    def _progress(self, total: int, before: int, seconds: float) -> None:
        done = len(self.summaries)
        broken = sum(bool(summary.broken) for summary in self.summaries)
        left_s = seconds / max(1, done - before) * (total - done)
        self._say(f"{done} of {total} seeds, {broken} broken,"
                  f" {seconds / 60:.1f} min gone, about {left_s / 60:.0f} min to go")  # fmt: skip
