"""``scripts/powercuts``: the power of a whole cluster fails, at every single file call of a scripted run.

Three nodes work for their clients; on the way one lags and is sent a snapshot, logs are cut, the leadership moves, a node joins, one goes,
and a leader is killed. At each call that changes any node's disk the process forks: in the child the power of **all** nodes fails
in that very call, what was not synced is lost in one of several ways, and all come back. Then what is promised
after any fault must hold: nothing acknowledged is lost, all nodes serve, all states are equal.
"""

import argparse
import asyncio
import gc
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from random import Random
from typing import Final

from raftq_cluster.backends.api import AddMember
from raftq_cluster.backends.raft.upkeep import Bounds
from tests.simulation.node import SimNode
from tests.simulation.options import Options
from tests.simulation.planting import BUGS, planted
from tests.simulation.simulation import Simulation, undisturbed
from tests.support.virtual_disk import Loss

BOUNDS: Final = Bounds(
    bytes_between_min=12 << 10, entries_kept=10, bytes_kept=8 << 10, bytes_lagging=0
)
SEGMENT_BYTES: Final = 8 << 10
SCRIPT_S: Final = 6.1
THINK_S: Final = 0.25  # of each client, at most: the script is short, and its calls shall be many
CLIENTS: Final = (0, 1, 4, 5, 8, 10, 13, 16, 18, 19, 21)
TAIL: Final = 60  # lines of the trace that are shown
AGAIN_CALLS_MAX: Final = 80  # within which the power fails once more


# What becomes of what was not synced. The last two differ from node to node, and in the last the power fails again
# while the nodes read their files.
VARIANTS: Final = (*(loss.name for loss in Loss), "MIXED", "AGAIN")


class Cut:
    """Where and how the power fails."""

    def __init__(self, number: int, variant: str, plant: str = "") -> None:
        self.number = number
        self.variant = variant
        self._plant = plant  # a bug that the nodes have
        self.is_over = False
        self._chance = Random(f"{number}/{variant}")

    def loss(self) -> Loss:
        if self.variant in Loss.__members__:
            return Loss[self.variant]
        return self._chance.choice(list(Loss))

    def calls_until_again(self) -> int:
        return self._chance.randint(1, AGAIN_CALLS_MAX)

    def command(self) -> str:
        planted = f" --plant {self._plant}" if self._plant else ""
        return f"scripts/powercuts --only {self.number} --variant {self.variant}{planted}"


class PowerCuts:
    """One scripted run, and what becomes of it at each call. ``chooses`` says which calls and variants are tried."""

    def __init__(
        self, chooses: Callable[[int], list[str]], jobs: int, *, plant: str, is_traced: bool
    ) -> None:
        self._chooses = chooses
        self._jobs = jobs
        self._plant = plant
        self._is_traced = is_traced
        self._children: set[int] = set()
        self.number = 0  # of file calls so far
        self.calls: Counter[str] = Counter()
        self.tried: Counter[str] = Counter()
        self.broken = 0
        self.cut: Cut | None = None  # in a child
        self._is_written = False  # the script has come to its end
        simulation = Simulation(Options(1, 3, SCRIPT_S, faults=(), clients=CLIENTS))
        self._simulation = simulation
        simulation.cluster.bounds, simulation.cluster.segment_bytes = BOUNDS, SEGMENT_BYTES
        simulation.cluster.on_new_node = self._watch
        for client in simulation.clients:
            client.think_s = THINK_S
        for node in simulation.cluster.nodes.values():
            self._watch(node)

    # --- the script -----------------------------------------------------------------------------

    def run(self) -> int:
        """Carry it out with all its cuts. How many broke a promise."""
        simulation = self._simulation
        self._write_script()
        simulation.begin()
        simulation.until(SCRIPT_S, lambda: self.cut is not None and self.cut.is_over)
        if self.cut is not None:
            self._leave(self.cut)
        self._is_written = True
        simulation.finish()
        if simulation.cluster.judge.is_broken:
            self._say("BROKEN without any power cut", simulation.cluster.judge.sentences)
            self.broken += 1
        while self._children:
            self._reap()
        return self.broken

    def met(self) -> str:
        """What the script has brought about."""
        cluster = self._simulation.cluster
        installed = cluster.coverage.counts["snapshots installed"]
        lists, leaders = len(cluster.raft._member_lists), len(cluster.raft._leaders)
        return f"{installed} snapshots installed, {lists} member lists, {leaders} leaderships"

    def _write_script(self) -> None:
        cluster = self._simulation.cluster
        steps: tuple[tuple[float, Callable[[], None]], ...] = (
            (2.0, self._lag),
            (3.2, lambda: cluster.order(cluster.transfer)),
            (3.5, lambda: cluster.order(self._let_join)),
            (5.2, lambda: cluster.order(partial(cluster.remove, self._follower().name))),
            (5.6, self._kill_leader),
        )
        for at_s, step in steps:
            self._simulation.world.after_s(at_s, partial(self._unless_cut, step))

    def _unless_cut(self, step: Callable[[], None]) -> None:
        if self.cut is None:
            step()

    def _follower(self) -> SimNode:
        cluster = self._simulation.cluster
        return next(node for node in cluster.nodes.values()
                    if node.is_serving and node is not cluster.leader)  # fmt: skip

    def _lag(self) -> None:
        """Cut a follower off until the others have cut their logs: it is sent a snapshot then."""
        cluster, slow = self._simulation.cluster, self._follower()
        others = [node for node in cluster.nodes.values() if node is not slow]
        pairs = [(slow.name, node.name) for node in others]
        pairs += [(target, source) for source, target in pairs]
        for source, target in pairs:
            cluster.fabric.cut(source, target, is_reset=True)

        def come_back() -> None:
            for source, target in pairs:
                cluster.fabric.release(source, target)

        for node in others:
            cluster.world.after_s(0.3, node.take_snapshot)
        cluster.world.after_s(0.4, come_back)

    async def _let_join(self) -> None:
        cluster = self._simulation.cluster
        node = cluster.new_node()
        assert node is not None
        await asyncio.sleep(0.1)
        await cluster.change(AddMember(node.address, True))

    def _kill_leader(self) -> None:
        leader = self._simulation.cluster.leader
        if leader is not None:
            leader.kill("killed")
            leader.start_later(0.2)

    # --- the cuts -------------------------------------------------------------------------------

    def _watch(self, node: SimNode) -> None:
        node.disk.on_call = partial(self._on_call, node)

    def _on_call(self, node: SimNode, call: str) -> None:
        if self.cut is not None or self._is_written:
            return
        self.number += 1
        self.calls[call] += 1
        for variant in self._chooses(self.number):
            if self._fork():
                self.cut = Cut(self.number, variant, self._plant)
                self._simulation.world.note(f"the power fails in {call} of {node.name} ({variant})")
                node.disk.on_cut = partial(self._fail, self.cut, node)
                node.disk.cut_at = node.disk.calls + 1
                return
            self.tried[variant] += 1

    def _fork(self) -> bool:
        """Whether this is the child now."""
        while len(self._children) >= self._jobs:
            self._reap()
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            self._children.add(pid)
        return not pid

    def _reap(self) -> None:
        pid, status = os.wait()
        self._children.discard(pid)
        self.broken += status != 0

    def _fail(self, cut: Cut, node: SimNode) -> None:
        """The node's call does not return; all other nodes end at the same moment."""
        node.disk.on_cut = lambda: None
        cluster = self._simulation.cluster
        for other in cluster.nodes.values():
            if other is node:
                other.end_silently("power cut of all")
            elif other.lives:
                other.cut_power(cut.loss(), "power cut of all")

        def is_over() -> None:
            node.disk.cut_power(cut.loss())
            node.disk.on_cut = node._on_cut
            if cut.variant == "AGAIN":
                self._fail_again(cut)
            cut.is_over = True

        cluster.world.after_s(0.0, is_over)

    def _fail_again(self, cut: Cut) -> None:
        for node in self._simulation.cluster.nodes.values():
            node.disk.cut_at = node.disk.calls + cut.calls_until_again()
            node.start_later(0.05)

    def _leave(self, cut: Cut) -> None:
        """In a child: what must hold afterwards, and the end."""
        judge, code = self._simulation.cluster.judge, 1
        try:
            if cut.variant == "AGAIN":
                self._simulation.until(self._simulation.world.now_s + 0.5)
            self._simulation.finish()
            if judge.is_broken:
                self._say(f"BROKEN: {cut.command()}", judge.sentences)
            else:
                code = 0
        except BaseException:  # noqa: BLE001 - whatever it is, it is told
            self._say(f"FAILED: {cut.command()}", traceback.format_exc().splitlines())
        finally:
            if self._is_traced:
                self._say("trace", list(self._simulation.world.tail)[-TAIL:])
            sys.stdout.flush()
            os._exit(code)

    @staticmethod
    def _say(title: str, lines: list[str]) -> None:
        sys.stdout.write("\n".join([title, *(f"  {line}" for line in lines)]) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/powercuts", description="Power cuts of whole clusters, at every file call."
    )
    add = parser.add_argument
    add("--every", type=int, default=1, help="only each so many-th call (default 1: all)")
    add("--offset", type=int, default=0, help="of the calls that are taken then")
    add("--one-variant", action="store_true", help="one variant for each call instead of all")
    add("--only", type=int, help="only this call")
    add("--variant", choices=VARIANTS, help="only this one")
    add("--plant", default="", choices=sorted(BUGS), help="with this bug planted")
    add("--jobs", type=int, default=1, help="how many at a time (default 1)")
    add("--trace", action="store_true", help="print the end of each trace")
    return parser.parse_args()


def chooser(options: argparse.Namespace) -> Callable[[int], list[str]]:
    """Which variants are tried at which call."""
    variants = [options.variant] if options.variant else list(VARIANTS)

    def choose(number: int) -> list[str]:
        if options.only is not None:
            return variants if number == options.only else []
        place, rest = divmod(number + options.offset, options.every)
        if rest:
            return []
        return [variants[place % len(variants)]] if options.one_variant else variants

    return choose


def main() -> int:
    options = arguments()
    gc.freeze()
    with planted(options.plant) if options.plant else nullcontext(), undisturbed():
        cuts = PowerCuts(
            chooser(options), options.jobs, plant=options.plant, is_traced=options.trace
        )
        broken = cuts.run()
    calls = ", ".join(f"{count} {call}" for call, count in sorted(cuts.calls.items()))
    sys.stdout.write(f"{cuts.number} file calls: {calls}\n")
    sys.stdout.write(f"on the way: {cuts.met()}\n")
    sys.stdout.write(f"{sum(cuts.tried.values())} power cuts of all nodes, {broken} broken\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
