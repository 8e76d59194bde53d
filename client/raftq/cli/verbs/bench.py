"""``raftq bench``: measure cycles of put, claim and done.

Knows the client library only, so what it measures is what a program sees. ``scripts/bench`` measures
the parts.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from raftq.cli.commands import Verb
from raftq.cli.invocation import DURATION, Invocation, connected, formatted

if TYPE_CHECKING:
    from raftq import AsyncClient

_IN_FLIGHT_MAX: Final = 4_096  # cycles at once; each is one request most of the time
_LEASE_MS: Final = 60_000


class Result(NamedTuple):
    """What was measured. Latencies are of whole cycles, three operations each."""

    cycles: int
    seconds: float
    cycles_per_s: float
    p50_ms: float
    p99_ms: float
    in_flight: int
    value_bytes: int
    durability: str


@click.command(
    "bench",
    cls=Verb,
    examples=("raftq bench", "raftq bench --in-flight 1", "raftq bench --in-flight 1024 --for 10s"),
)
@click.option(
    "--in-flight", type=click.IntRange(1, _IN_FLIGHT_MAX), default=64, show_default=True,
    help="Cycles at once.",
)  # fmt: skip
@click.option("--for", "length_ms", type=DURATION, default="5s", show_default=True)
@click.option("--size", type=click.IntRange(0, 1 << 20), default=64, show_default=True)
@click.option("--queue", default="raftq-bench", show_default=True, help="Must hold nothing else.")
@formatted
@connected
@click.pass_obj
def command(invocation: Invocation, in_flight: int, length_ms: int, size: int, queue: str) -> None:
    """Put, claim and finish tasks for some time, and show how many cycles a second that made.

    The tasks go through --queue and are gone at the end.
    """
    printer = invocation.printer
    with invocation.client(stays=True) as client:
        result = client.run(
            lambda inner: _measure(inner, in_flight, length_ms / 1000, "x" * size, queue)
        )
    if not printer.is_table:
        printer.document(result._asdict())
        return
    click.echo(
        f"{result.cycles_per_s:,.0f} cycles/s with {in_flight} in flight\n"
        f"a cycle (put, claim, done) takes p50 {result.p50_ms:.2f} ms, p99 {result.p99_ms:.2f} ms\n"
        f"{result.cycles:,} cycles in {result.seconds:.1f} s, values of {size} bytes,"
        f" durability {result.durability}"
    )


async def _measure(
    client: "AsyncClient", in_flight: int, length_s: float, value: str, queue: str
) -> Result:
    import asyncio

    durability = (await client.cluster()).durability
    if any(found.tasks for found in await client.queues(exact=queue)):
        raise click.UsageError(f"{queue} holds tasks already; choose another --queue.")
    latencies_s: list[float] = []
    start = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(_cycles(client, queue, value, start + length_s, latencies_s))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None  # they all met the same
    seconds = time.perf_counter() - start
    return Result(
        cycles=len(latencies_s),
        seconds=round(seconds, 3),
        cycles_per_s=round(len(latencies_s) / seconds, 1),
        p50_ms=_percentile_ms(latencies_s, 0.50),
        p99_ms=_percentile_ms(latencies_s, 0.99),
        in_flight=in_flight,
        value_bytes=len(value),
        durability=durability,
    )


async def _cycles(
    client: "AsyncClient", queue: str, value: str, end: float, latencies_s: list[float]
) -> None:
    """Do at least one cycle. A claim finds some task, because each cycle put one before."""
    while True:
        start = time.perf_counter()
        await client.put(queue, value)
        tasks = await client.claim(queue, lease_ms=_LEASE_MS, wait_ms=_LEASE_MS)
        await client.done(*tasks)
        now = time.perf_counter()
        latencies_s.append(now - start)
        if now >= end:
            return


def _percentile_ms(latencies_s: Sequence[float], fraction: float) -> float:
    ordered = sorted(latencies_s)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] * 1000, 3)
