"""Runs a benchmark program, with a node of its own where it needs one, and measures CPU time.

CPU time is that of the node and the program together; what the rest of the machine used meanwhile is
reported beside it, for a busy neighbour can halve a figure.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from bench_table.programs import FILLING, Needs, Program
from bench_table.rows import Figure, Row, Sample
from local_node import LocalNode

FOLDER: Final = Path(__file__).resolve().parents[1] / "bench.d"
PROGRAM_S: Final = 300.0  # the slowest takes a tenth of it
TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
_BUSY: Final = (1, 2, 3, 6, 7, 8)  # fields of /proc/stat: user nice system irq softirq steal


class BenchmarkFailedError(Exception):
    """A program ended badly; the message has what it said."""


class Spent(NamedTuple):
    """CPU seconds up to now."""

    node_s: float
    program_s: float
    machine_s: float
    clock_s: float


def run(program: Program, runs: int) -> list[Row]:
    """Run a program several times and give a row for each of its figures.

    Raises:
        BenchmarkFailedError: it ended badly.
    """
    by_name: dict[str, list[Sample]] = {}
    with _node(program.needs) as (address, pid):
        if program.waiting:
            _start(program.name, FILLING, *address, str(program.waiting))
        for _ in range(runs):
            before = _spent(pid)
            figures = _figures(program, address)
            after = _spent(pid)
            for figure in figures:
                by_name.setdefault(figure.name, []).append(_sample(figure, before, after))
    return [Row(samples) for samples in by_name.values()]


@contextmanager
def _node(needs: Needs) -> Iterator[tuple[list[str], int | None]]:
    """Give the arguments that lead to a fresh node, and its process id."""
    if needs is Needs.NOTHING:
        yield [], None
        return
    with (
        tempfile.TemporaryDirectory(prefix="raftq-bench-") as folder,
        LocalNode(Path(folder) / "data") as node,
    ):
        addresses = {Needs.TEXT: node.text_address, Needs.HTTP: node.http_address}
        yield [addresses[needs]], node.pid


def _figures(program: Program, address: list[str]) -> list[Figure]:
    said = _start(program.name, program.file, *address, *program.arguments)
    try:
        figures = msgspec.json.decode(said, type=list[Figure])
    except msgspec.MsgspecError as error:
        raise BenchmarkFailedError(f"{program.name}: {program.file} said {said!r}") from error
    for figure in figures:
        figure.name += f", {program.waiting:,} waiting" if program.waiting else ""
    return figures


def _start(name: str, file: str, *arguments: str) -> bytes:
    """Run a program to its end and give what it printed."""
    command = [sys.executable, str(FOLDER / file), *arguments]
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROGRAM_S, check=True
        ).stdout
    except subprocess.TimeoutExpired as error:
        raise BenchmarkFailedError(f"{name}: {file} took more than {PROGRAM_S:.0f} s") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace")[-2000:]
        raise BenchmarkFailedError(f"{name}: {file} failed: {said}") from error


def _sample(figure: Figure, before: Spent, after: Spent) -> Sample:
    node_s = after.node_s - before.node_s
    ours_s = node_s + after.program_s - before.program_s
    others_s = max(0.0, after.machine_s - before.machine_s - ours_s)
    cpu_us = 1e6 * (node_s + figure.cpu_s) / figure.cycles if figure.cycles else 0.0
    return Sample(figure, cpu_us, others_s / (after.clock_s - before.clock_s))


def _spent(pid: int | None) -> Spent:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return Spent(
        node_s=0.0 if pid is None else _process_s(pid),
        program_s=children.ru_utime + children.ru_stime,
        machine_s=sum(int(fields[position]) for position in _BUSY) / TICKS_A_SECOND,
        clock_s=time.monotonic(),
    )


def _process_s(pid: int) -> float:
    """User and system time of a process: fields 14 and 15, counted after the name's parenthesis."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND
