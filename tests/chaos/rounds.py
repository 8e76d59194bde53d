"""One round: clients on queues of their own, faults over them; then all is mended, and what is there is judged."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from tests.chaos import records
from tests.chaos.aftermath import Aftermath
from tests.chaos.availability import Gap, Span, gaps
from tests.chaos.clients.crew import DIALECTS, crew
from tests.chaos.clients.kinds import NUMBERED, QUEUES
from tests.chaos.clients.text import Numbered
from tests.chaos.cluster import ChaosCluster
from tests.chaos.faults.scene import NobodyError, Scene
from tests.chaos.faults.schedule import FAULTS, Planned, chance_of
from tests.chaos.judging import breaches
from tests.simulation.checkers import tasks
from tests.simulation.history import DONE, History

FINISH_S: Final = 120.0  # for what a fault has begun, a change of members say
BROKEN_S: Final = 10.0  # the same, once a promise is broken
QUIET_S: Final = 20.0  # for clients to finish what they are at: every call ends
LEASE_MS: Final = 2_000  # TaskQ's, which names none
BETWEEN_S: Final = 2.5  # two faults that come one at a time: all is well again
# One fault leaves a majority: it must serve by then, on a busy machine too. Quiet ones take a second.
AWAY_S: Final = 10.0
NOBODY_LEFT: Final = frozenset({"restart_all"})


@dataclass
class Result:
    """What came of one round."""

    number: int
    broken: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)  # nobody was there to be hit
    attempts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    gaps: list[Gap] = field(default_factory=list)
    healed_s: float = (
        0.0  # from when all was mended until what faults had begun was over and every node served
    )


class Round:
    """See ``run``. Clients see it as their ``Surroundings``."""

    def __init__(
        self,
        number: int,
        seed: int,
        cluster: ChaosCluster,
        folder: Path,
        say: Callable[[str], None],
    ) -> None:
        self.history = History()
        self.prefix = f"/chaos/{seed}/{number}/"
        self.result = Result(number)
        self._cluster = cluster
        self._folder = folder
        self._say = say
        self._seed = seed
        self._scene = Scene(cluster, self._note)
        self._spans: list[Span] = []
        self._is_alone = False  # one fault at a time
        self._began_ns = time.monotonic_ns()
        self._clients = crew(self, self._address, lambda name: Random(f"{seed}/{number}/{name}"))
        self._after = Aftermath(
            cluster, self._address, self.blame, lambda: bool(self.result.broken)
        )

    # --- what clients see -----------------------------------------------------------------------

    def nodes(self) -> Sequence[str]:
        """All that are or were meant to serve."""
        return list(self._cluster.nodes)

    def count(self, dialect: str, verb: str, outcome: str) -> None:
        """See ``Surroundings``."""
        self.result.attempts[dialect, verb, outcome] += 1

    def blame(self, sentence: str) -> None:
        """A promise was broken."""
        self.result.broken.append(sentence)
        self._scene.is_over.set()  # what comes after it proves nothing
        self._note(f"BROKEN: {sentence[:400]}")

    def _note(self, sentence: str) -> None:
        self._say(f"{(time.monotonic_ns() - self._began_ns) / 1e9:7.2f}  {sentence}")

    def _address(self, node: str, door: str) -> tuple[str, int]:
        return self._cluster.network.client_address(self._cluster.place_of(node), door)

    # --- the phases -----------------------------------------------------------------------------

    async def run(
        self, planned: Sequence[Planned], round_s: float, *, alone: bool = False
    ) -> Result:
        """Work under faults, mend all, and judge; in haste once a promise is broken."""
        await self._configure()
        workers = [asyncio.create_task(client.run()) for client in self._clients]
        self._is_alone = alone
        if alone:
            strikes = [asyncio.create_task(self._one_by_one(planned), name="faults")]
        else:
            strikes = [
                asyncio.create_task(self._strike(fault), name=f"{fault.name} ({fault.number})")
                for fault in planned
            ]
        await self._scene.hold(round_s)
        self._scene.is_over.set()
        self._note("everything is mended")
        mended_s = time.monotonic()
        await self._end(strikes)
        if not self.result.broken:
            for node in list(self._cluster.nodes.values()):
                await self._scene.bring_back(node)
            await self._after.serve()
            self.result.healed_s = time.monotonic() - mended_s
        if not self.result.broken:
            await self._after.work(self.prefix + "probe")
        await self._finish(workers)
        self._see_load()
        if not self.result.broken:
            self.history.left = await self._after.left([self.prefix + queue for queue in QUEUES])
            await self._after.verify()
        self._judge()
        return self.result

    async def _end(self, strikes: Sequence[asyncio.Task[None]]) -> None:
        """Faults come to their end, as they do once everything is mended."""
        limit_s = BROKEN_S if self.result.broken else FINISH_S
        _, late = await asyncio.wait(strikes, timeout=limit_s) if strikes else (set(), set())
        for strike in late:
            if not self.result.broken:
                self.blame(f"no progress: {strike.get_name()} has not come to its end")
            strike.cancel()
        for strike, outcome in zip(
            strikes, await asyncio.gather(*strikes, return_exceptions=True), strict=True
        ):
            if isinstance(outcome, Exception):
                self.blame(f"{strike.get_name()}: {outcome!r}")

    async def _configure(self) -> None:
        """TaskQ's leases are those of its queue."""
        document = {"pattern": self.prefix + NUMBERED, "lease_ms": LEASE_MS, "order": "fifo"}
        if await self._cluster.order("PUT", "/v1/settings", document) is None:
            self.blame("no progress: a healthy cluster takes no settings")

    async def _one_by_one(self, planned: Sequence[Planned]) -> None:
        """As many of them as there is time for."""
        for fault in planned:
            await self._scene.hold(BETWEEN_S)
            await self._strike(fault._replace(at_s=0.0))

    async def _strike(self, fault: Planned) -> None:
        await self._scene.hold(fault.at_s)
        if self._scene.is_over.is_set():
            return
        self._note(f"fault {fault.number}: {fault.name}")
        began_ns = time.monotonic_ns()
        try:
            await FAULTS[fault.name](self._scene, chance_of(self._seed, fault))
            self.result.faults[fault.name] += 1
        except NobodyError as error:
            self.result.passed[fault.name] += 1
            self._note(f"fault {fault.number} passes: {error}")
        finally:
            self._spans.append(Span(began_ns, time.monotonic_ns(), fault.name))
            self._note(f"fault {fault.number} is over")

    async def _finish(self, workers: list[asyncio.Task[None]]) -> None:
        """Clients finish what they are at."""
        for client in self._clients:
            client.is_stopping = True
        limit_s = BROKEN_S if self.result.broken else QUIET_S
        _, late = await asyncio.wait(workers, timeout=limit_s)
        for worker in late:
            worker.cancel()
        for client, outcome in zip(
            self._clients, await asyncio.gather(*workers, return_exceptions=True), strict=True
        ):
            if isinstance(outcome, asyncio.CancelledError) and not self.result.broken:
                self.blame(f"no progress: {client.name} is still being told nothing")

    def _see_load(self) -> None:
        """Faults that nobody was at work under prove nothing: each dialect has had something done."""
        spoken = {dialect for dialect, _, _ in self.result.attempts}
        worked = {dialect for dialect, _, outcome in self.result.attempts if outcome == DONE}
        if not self.result.broken and (idle := spoken - worked or DIALECTS - spoken):
            self.blame(f"no load: clients of {', '.join(sorted(idle))} had nothing done")

    # --- the verdict ----------------------------------------------------------------------------

    def _judge(self) -> None:
        result, history = self.result, self.history
        is_listed, undecided = bool(history.left) or not result.broken, list[str]()
        for sentence in breaches(history, is_listed=is_listed, undecided=undecided):
            self.blame(sentence)
        result.counts = tasks.counts(_of_rows(history))
        result.counts["undecided"] = len(undecided)
        result.counts["registers"] = sum(map(len, history.registers.values()))
        result.counts["small queues"] = sum(map(len, history.small_queues.values()))
        result.counts["left"] = len(history.left)
        result.gaps = list(gaps(history, self._spans))
        for gap in result.gaps:
            if self._is_alone and gap.seconds > AWAY_S and NOBODY_LEFT.isdisjoint(gap.faults):
                on = ", ".join(sorted(gap.faults))
                self.blame(
                    f"no progress: nothing was acknowledged for {gap.seconds:.1f} s, with {on}"
                )
        if result.broken:
            records.write(history, self._folder / f"history-{result.number}.jsonl")


def _of_rows(history: History) -> History:
    calls = [call for call in history.calls if not isinstance(call.outcome, Numbered)]
    return History(calls=calls, left=history.left)
