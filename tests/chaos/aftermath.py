"""What must be so once everything is mended: every node serves, every dialect gets something done, all states are equal."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from raftq_cluster.core.outcomes import TaskRow
from tests.chaos.clients.http import EntroQ, V1Http
from tests.chaos.clients.speaking import Address, Speaker, Told
from tests.chaos.clients.text import TaskQ, V1Text
from tests.chaos.cluster import ChaosCluster
from tests.simulation.history import DONE
from tests.support.node_process import child_environment

# Several elections, nodes that start again, and one whose disk was full (half a minute).
SERVE_S: Final = 60.0
WORK_S: Final = 20.0  # for each dialect to do one thing through each node
LISTING_MAX: Final = 10_000
_LIST_S: Final = 20.0
_PAUSE_S: Final = 0.1
_VERIFY_S: Final = 60.0


class Aftermath:
    """One cluster without faults. ``blame`` takes what is not so; once ``is_broken`` nothing is waited for."""

    def __init__(
        self,
        cluster: ChaosCluster,
        address: Address,
        blame: Callable[[str], None],
        is_broken: Callable[[], bool],
    ) -> None:
        self._cluster = cluster
        self._address = address
        self._blame = blame
        self._is_broken = is_broken

    async def serve(self) -> None:
        """Wait until every node serves and all agree who leads."""
        began_s = time.monotonic()
        while not self._is_broken() and (unwell := await self._unwell()):
            if time.monotonic() - began_s > SERVE_S:
                self._blame(f"no progress: after {SERVE_S:g} s without faults {unwell}")
                break
            await asyncio.sleep(_PAUSE_S)

    async def _unwell(self) -> str:
        told = await self._cluster.statuses()
        if missing := self._cluster.nodes.keys() - told.keys():
            return f"{', '.join(sorted(missing))} do not serve"
        leaders = {document["leader"] for document in told.values()}
        if len(leaders) > 1 or "" in leaders:
            return f"nodes follow {sorted(leaders)}"
        members = {
            member["id"]: member["role"]
            for document in told.values()
            for member in document["members"]
        }
        if members.keys() != self._cluster.nodes.keys() or "learner" in members.values():
            return f"the members are {members}"
        return ""

    async def work(self, queue: str) -> None:
        """Each dialect does something through each node."""
        dialects: tuple[Speaker, ...] = (
            V1Http(self._address), V1Text(self._address), EntroQ(self._address),
        )  # fmt: skip
        taskq = TaskQ(self._address)
        document = {"claimant": "probe", "inserts": [{"queue": queue, "value": "probe|"}]}
        for id_ in list(self._cluster.nodes):
            for speaker in dialects:
                what = f"{speaker.dialect} through {id_}"
                await self._soon(what, speaker.call, id_, "modify", document)
            await self._soon(f"taskq through {id_}", taskq.enq, id_, queue, b"probe|")
        for speaker in dialects:
            await speaker.close()
        await taskq.close()

    async def _soon(self, what: str, attempt: Callable[..., Awaitable[Told]], *given: Any) -> None:
        deadline_s = time.monotonic() + WORK_S
        while not self._is_broken() and (await attempt(*given)).status != DONE:
            if time.monotonic() > deadline_s:
                self._blame(f"no progress: {what} nothing was done in {WORK_S:g} s")
                return
            await asyncio.sleep(_PAUSE_S)

    async def left(self, queues: list[str]) -> dict[str, TaskRow]:
        """What all nodes list, each of them the same, by id."""
        listings = {id_: await self._listing(id_, queues) for id_ in self._cluster.nodes}
        (one, here), *rest = listings.items()
        for other, there in rest:
            differ = {key for key in here.keys() | there.keys() if here.get(key) != there.get(key)}
            if differ:
                self._blame(
                    f"nodes differ: {one} and {other} list {sorted(differ)[:5]} differently"
                )
        return here

    async def _listing(self, id_: str, queues: list[str]) -> dict[str, TaskRow]:
        speaker = V1Text(self._address)
        rows: dict[str, TaskRow] = {}
        for queue in queues:
            document = {"queue": queue, "limit": LISTING_MAX}
            told = await speaker.call(id_, "tasks", document, wait_s=_LIST_S)
            if told.status != DONE:
                self._blame(f"no progress: {id_} does not list tasks: {told.code}")
                break
            if len(told.outcome) >= LISTING_MAX:
                self._blame("more is left than one listing tells: the load is out of balance")
            rows.update((row.id, row) for row in told.outcome)
        await speaker.close()
        return rows

    async def verify(self) -> None:
        """``raftq cluster verify``, as an operator would."""
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "raftq.cli", "--url", self._cluster.text_url(), "cluster", "verify",
            env=child_environment(), stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_VERIFY_S):
                said, _ = await child.communicate()
        except TimeoutError:
            child.kill()
            await child.wait()
            self._blame("no progress: raftq cluster verify does not end")
            return
        if child.returncode:
            self._blame(f"raftq cluster verify says {child.returncode}: {said.decode()[-300:]}")
