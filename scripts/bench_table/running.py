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

from bench_table.programs import FILLING, FILLING_VALUE_BYTES, Needs, Program
from bench_table.rows import Figure, Row, Sample
from local_node import LocalCluster, LocalNode

FOLDER: Final = Path(__file__).resolve().parents[1] / "bench.d"
PROGRAM_S: Final = (
    900.0  # the slowest fills three nodes with a million tasks and restarts one of them
)
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
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
    with _nodes(program) as (address, pids):
        if program.waiting:
            by_name |= _fill(program, address, pids)
        for _ in range(1 if program.is_long else runs):
            before = _spent(pids)
            figures = _figures(program, address)
            after = _spent(pids)
            for figure in figures:
                by_name.setdefault(figure.name, []).append(_sample(figure, before, after))
    return [Row(samples) for samples in by_name.values()]


def _fill(program: Program, address: list[str], pids: list[int]) -> dict[str, list[Sample]]:
    """Fill the nodes, and tell what memory a task takes at the node where it takes most."""
    before = [_resident_bytes(pid) for pid in pids]
    _start(program.name, FILLING, address[0], str(program.waiting))
    after = [_resident_bytes(pid) for pid in pids]
    bytes_each = max(
        (now - then) / program.waiting for then, now in zip(before, after, strict=True)
    )
    figure = Figure(
        name=f"memory of a waiting task over its value, {program.name}",
        value=bytes_each - FILLING_VALUE_BYTES,
        unit="bytes",
        better="lower",
        note=f"{program.waiting:,} tasks",
    )
    return {figure.name: [Sample(figure, 0.0, 0.0)]}


@contextmanager
def _nodes(program: Program) -> Iterator[tuple[list[str], list[int]]]:
    """Give the arguments that lead to fresh nodes, and their process ids."""
    if program.needs is Needs.NOTHING:
        yield [], []
        return
    is_text = program.needs is Needs.TEXT
    with tempfile.TemporaryDirectory(prefix="raftq-bench-") as folder:
        data = Path(folder) / "data"
        if program.nodes == 1:
            with LocalNode(data) as node:
                yield [node.text_address if is_text else node.http_address], [node.pid]
            return
        with LocalCluster(data, program.nodes) as cluster:
            yield cluster.text_addresses if is_text else cluster.http_addresses, cluster.pids


def _figures(program: Program, address: list[str]) -> list[Figure]:
    said = _start(program.name, program.file, *address, *program.arguments)
    try:
        figures = msgspec.json.decode(said, type=list[Figure])
    except msgspec.MsgspecError as error:
        raise BenchmarkFailedError(f"{program.name}: {program.file} said {said!r}") from error
    for figure in figures:
        figure.name += f", {program.waiting:,} waiting" if program.waiting else ""
        figure.name += f", {program.nodes} nodes" if program.nodes > 1 else ""
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


def _spent(pids: list[int]) -> Spent:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return Spent(
        node_s=sum(map(_process_s, pids)),
        program_s=children.ru_utime + children.ru_stime,
        machine_s=sum(int(fields[position]) for position in _BUSY) / TICKS_A_SECOND,
        clock_s=time.monotonic(),
    )


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def _process_s(pid: int) -> float:
    """User and system time of a process: fields 14 and 15, counted after the name's parenthesis."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND
