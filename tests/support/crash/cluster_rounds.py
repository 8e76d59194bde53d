"""Rounds of: let clients loose on a cluster, and do something to its nodes; whoever is gone comes back."""

import asyncio
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.support.cluster_process import ClusterProcess
from tests.support.crash.history import History
from tests.support.crash.load import LEASE_MS, Client, list_all

CLIENTS: Final = 9
_LOAD_S: Final = (0.1, 0.8)  # before something happens, and before it is put right
# A node that was stopped for so long has lost its leadership, and leases that it granted have run out.
_SILENT_S: Final = 3.0 * LEASE_MS / 1_000 + 1.2
_REPLY_S: Final = 1.5  # so that clients of a silent node repeat themselves elsewhere
_PAUSE_S: Final = 0.01


class ClusterRounds:
    """A cluster, its clients, and the faults that are done to it."""

    def __init__(self, folder: Path, nodes: int, seed: int, *flags: str) -> None:
        self.history = History()
        self.done: list[str] = []  # the faults, in their order
        self._chance = random.Random(seed)
        self._cluster = ClusterProcess(folder, nodes, *flags)
        self._clients = [
            Client(f"c{n}", self.history, self._chance.getrandbits(32), reply_s=_REPLY_S)
            for n in range(CLIENTS)
        ]
        self._is_over = False

    async def run(self, rounds: int) -> History:
        """So many rounds; every kind of fault has its turn before one comes again."""
        faults: list[Callable[[], list[str]]] = []
        try:
            await asyncio.to_thread(self._cluster.start)
            async with asyncio.TaskGroup() as group:
                for client in self._clients:
                    group.create_task(self._work(client))
                for _ in range(rounds):
                    faults = faults or self._chance.sample(self._faults(), len(self._faults()))
                    await self._round(faults.pop())
                self._is_over = True
            # What clients have sent last may be under way for seconds. A node that ends well has finished it.
            gone = await asyncio.to_thread(self._stop_all)
            await asyncio.to_thread(self._cluster.start, *gone)
            await self._look()
        finally:
            self._cluster.kill()
        return self.history

    async def _work(self, client: Client) -> None:
        while not self._is_over:
            address = self._cluster[self._chance.choice(list(self._cluster.nodes))].text
            work = asyncio.create_task(client.run(address))
            while not work.done() and not self._is_over:
                await asyncio.wait([work], timeout=_PAUSE_S)
            work.cancel()
            await asyncio.wait([work])
            if not work.cancelled():
                work.result()  # what no client should be told is raised here
            await asyncio.sleep(_PAUSE_S)

    async def _round(self, fault: Callable[[], list[str]]) -> None:
        await asyncio.sleep(self._chance.uniform(*_LOAD_S))
        self.done.append(fault.__name__.strip("_"))
        gone = await asyncio.to_thread(fault)
        await asyncio.sleep(self._chance.uniform(*_LOAD_S))
        if gone:
            await asyncio.to_thread(self._cluster.start, *gone)
        await asyncio.to_thread(self._cluster.leader)

    async def _look(self) -> None:
        names = list(self._cluster.nodes)
        self.history.left = await list_all(self._cluster[names[0]].text)
        for name in names[1:]:
            self.history.left_elsewhere[name] = await list_all(self._cluster[name].text)

    # --- what happens to nodes; each gives those that have to be started again ------------------

    def _faults(self) -> list[Callable[[], list[str]]]:
        return [
            self._kill_leader,
            self._kill_anybody,
            self._kill_minority,
            self._kill_all,
            self._silence_leader,
            self._stop_all,
        ]

    def _kill(self, names: list[str]) -> list[str]:
        self._cluster.kill(*names)
        return names

    def _kill_leader(self) -> list[str]:
        return self._kill([self._cluster.leader()])

    def _kill_anybody(self) -> list[str]:
        return self._kill([self._chance.choice(list(self._cluster.nodes))])

    def _kill_minority(self) -> list[str]:
        names = list(self._cluster.nodes)
        return self._kill(self._chance.sample(names, (len(names) - 1) // 2))

    def _kill_all(self) -> list[str]:
        return self._kill(list(self._cluster.nodes))

    def _silence_leader(self) -> list[str]:
        leader = self._cluster.leader()
        self._cluster.pause(leader)
        time.sleep(_SILENT_S)
        self._cluster.resume(leader)
        return []

    def _stop_all(self) -> list[str]:
        for node in self._cluster.nodes.values():
            node.signal(signal.SIGTERM)
        for name, node in self._cluster.nodes.items():
            assert node.wait() == 0, f"{name} did not end well"
        return list(self._cluster.nodes)
