"""Rounds of: start the node, let clients loose on it, kill it with -9 at a random moment."""

import asyncio
import random
from pathlib import Path
from typing import Final

from tests.support.crash.history import History
from tests.support.crash.load import Client, list_all
from tests.support.node_process import NodeProcess

CLIENTS: Final = 12
_KILL_AFTER_S: Final = (0.02, 0.6)  # of load


async def run_rounds(data_dir: Path, rounds: int, seed: int, *flags: str) -> History:
    """Kill a standalone node ``rounds`` times and give the history of all its clients."""
    chance = random.Random(seed)
    history = History()
    clients = [Client(f"c{n}", history, chance.getrandbits(32)) for n in range(CLIENTS)]
    node = NodeProcess(data_dir, *flags)
    try:
        for _ in range(rounds):
            await asyncio.to_thread(node.start)
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(client.run(node.text))
                await asyncio.sleep(chance.uniform(*_KILL_AFTER_S))
                node.kill()
        await asyncio.to_thread(node.start)
        history.left = await list_all(node.text)
    finally:
        node.kill()
    return history
