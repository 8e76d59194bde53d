"""A reducer process: takes several partial results, puts their sum in their place.

usage: python -m demo.reducer NAME URL

Deleting the parts and inserting the sum is one ``modify``. If this process dies on the way, or is so slow
that its lease runs out, nothing has happened and another reducer takes the same parts.
"""

import asyncio
import random
import signal
import sys
from typing import Final

from demo.counting import Partial, merge
from demo.queues import LEASE_MS, PARTIALS
from raftq import AsyncClient, DependencyError, Insert, Task

FAN_IN: Final = 16  # parts in one merge: 600 files take about 40 merges
# How long to wait for more parts. Not the same for all: of two reducers that hold one part each, one
# must give up first and leave its part to the other.
PATIENCE_S: Final = (0.2, 0.6)


async def collect(client: AsyncClient) -> list[Task]:
    """Claim partial results until there are enough, or no more come."""
    clock = asyncio.get_running_loop().time
    end_s = clock() + random.uniform(*PATIENCE_S)
    held: list[Task] = []
    while len(held) < FAN_IN and (left_s := end_s - clock()) > 0:
        held += await client.claim(
            PARTIALS, limit=FAN_IN - len(held), lease_ms=LEASE_MS, wait_ms=int(left_s * 1000)
        )
    return held


async def reduce(client: AsyncClient, held: list[Task]) -> None:
    """Put the sum of the claimed partial results in their place."""
    total = merge(task.value_as(Partial) for task in held)
    await client.modify(
        inserts=[Insert(PARTIALS, total)],
        deletes=[task.delete() for task in held],
    )


async def give_back(client: AsyncClient, task: Task) -> None:
    """Let others have a part that found no other part, and let them have it first."""
    await client.modify(changes=[task.change(delay_ms=0)])
    await asyncio.sleep(PATIENCE_S[0])


async def work(client: AsyncClient, stopping: asyncio.Event) -> None:
    """Merge until told to stop."""
    while not stopping.is_set():
        held = await collect(client)
        try:
            if len(held) > 1:
                await reduce(client, held)
            elif held:
                await give_back(client, held[0])
        except DependencyError:
            pass  # a lease ran out and somebody else has the part: nothing was done, nothing is lost


async def main(name: str, url: str) -> None:
    """Work until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with AsyncClient(url, claimant=name) as client:
        await work(client, stopping)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
