"""``scripts/chaos``: real nodes under faults, one report; exit code 1 if a promise was broken."""

import argparse
import asyncio
import math
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos import disks, report
from tests.chaos.cluster import ChaosCluster
from tests.chaos.faults.schedule import FAULTS, NEEDS_DISKS, ROUND_S, plan
from tests.chaos.networks import namespaces
from tests.chaos.networks.api import Network
from tests.chaos.networks.namespaces import Namespaces
from tests.chaos.networks.proxies import Proxies
from tests.chaos.options import Options
from tests.chaos.planting import BUGS
from tests.chaos.rounds import Result, Round

SPARES = 2  # places for nodes that join
DESCRIPTION = """\
Three or five raftqd processes, clients of all dialects (v1 over HTTP and text, EntroQ, TaskQ), and faults over them:
networks that split, processes that die or stand still, disks that fill up, clocks that are off, members that change.
As root, each node is in a network namespace of its own; otherwise behind user-space proxies. Every round of 40 s has
queues of its own; at its end everything is mended, every node must serve, and histories, listings and digests are judged.
"""
EPILOG = """\
A run that fails prints the command that repeats its schedule, and keeps logs, histories and data directories in a
directory that it names. The schedule is the seed's; whom a fault hits depends on who leads at the moment.

faults: """


def arguments() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/chaos", description=DESCRIPTION, epilog=EPILOG + ", ".join(FAULTS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--nodes", type=int, default=3, choices=(3, 5), help="voters (default 3)")
    parser.add_argument("--minutes", type=float, default=1.0, help="of faults (default 1)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--faults", default="", metavar="A,B", help="only these kinds, or none")
    parser.add_argument(
        "--alone",
        action="store_true",
        help="one fault at a time, so that a majority is always left to serve",
    )
    parser.add_argument("--proxies", action="store_true", help="even where namespaces can be made")
    parser.add_argument("--round", type=int, default=0, metavar="N", help="this round alone")
    parser.add_argument("--plant", default="", choices=("", *sorted(BUGS)), metavar="BUG",
                        help="have a bug in all nodes, to see it caught")  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="keep all files, also of a good run")
    parser.add_argument("--out", default="", metavar="DIR", help="where files are kept")
    given = parser.parse_args()
    names = tuple(name for name in given.faults.split(",") if name)
    rounds = max(1, math.ceil(given.minutes * 60 / ROUND_S))
    if not 0 <= given.round <= rounds:
        parser.error(f"--round: {given.minutes:g} minutes have rounds 1 to {rounds}")
    if unknown := set(names) - {*FAULTS, "none"}:
        parser.error(
            f"there is no fault {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}"
        )
    return Options(given.seed, given.nodes, given.minutes, names, given.proxies, given.plant,
                   given.round, given.keep, given.out, given.alone)  # fmt: skip


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Run:
    """One run with its network, cluster and rounds."""

    def __init__(self, options: Options, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._broken: list[str] = []  # outside any round
        self._round: Round | None = None

    async def run(self) -> list[Result]:
        """All rounds, up to the first that breaks a promise."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C does: nothing is left behind
            loop.add_signal_handler(number, task.cancel)
        options = self._options
        places = [f"n{n + 1}" for n in range(options.nodes)] + [f"s{n + 1}" for n in range(SPARES)]
        network = await self._network(places)
        disks.remove_left()
        has_disks = disks.can_be_mounted(self._folder)
        names = [name for name in options.faults or FAULTS
                 if name != "none" and (has_disks or name not in NEEDS_DISKS)]  # fmt: skip
        if not has_disks:
            say(
                f"no disk can be mounted here, so there is no fault {', '.join(sorted(NEEDS_DISKS))}"
            )
        began_s, results, cluster = time.monotonic(), list[Result](), None
        try:
            await network.open()
            if isinstance(network, Namespaces):
                network.enter()
            cluster = ChaosCluster(
                self._folder, network, places, options.nodes, self._blame,
                has_disks=has_disks, plant=options.plant,
            )  # fmt: skip
            await cluster.start_all()
            watch = asyncio.create_task(cluster.watch())
            await self._rounds(cluster, names, results)
            watch.cancel()
            await asyncio.gather(*(cluster.stop(id_) for id_ in cluster.nodes))
        finally:
            if cluster is not None:
                cluster.close(keep=options.keep or any(result.broken for result in results))
            await network.close()
        lives = sum(node.lives for node in (*cluster.nodes.values(), *cluster.gone))
        for line in report.lines(options, network.name, results, time.monotonic() - began_s, lives):
            say(line)
        return results

    async def _network(self, places: list[str]) -> Network:
        why_not = "asked for" if self._options.proxies else await namespaces.can_be_made()
        if why_not:
            say(f"nodes are behind user-space proxies ({why_not})")
            return Proxies(places)
        return Namespaces(places)

    def _blame(self, sentence: str) -> None:
        """What happens between rounds is the next one's."""
        if self._round is not None:
            self._round.blame(sentence)

    async def _rounds(self, cluster: ChaosCluster, names: list[str], results: list[Result]) -> None:
        options = self._options
        seconds = options.minutes * 60
        count = max(1, math.ceil(seconds / ROUND_S))
        planned = plan(options.seed, options.nodes, names, count, seconds / count)
        for number, faults in enumerate(planned, 1):
            if options.only in {0, number}:
                say(f"round {number} of {count}")
                self._round = Round(number, options.seed, cluster, self._folder, say)
                results.append(await self._round.run(faults, seconds / count, alone=options.alone))
                if results[-1].broken:
                    return


def main() -> int:
    """Run it."""
    options = arguments()
    folder = Path(options.out or tempfile.mkdtemp(prefix="raftq-chaos-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    say(f"seed {options.seed}; files in {folder}")
    is_good = False
    try:
        results = asyncio.run(Run(options, folder).run())
        broken = [result for result in results if result.broken]
        is_good = not broken
        for result in broken:
            say(f"repeat it: {options.command()}")
            say(f"that round alone: {options.command(result.number)}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("interrupted")
    finally:
        if is_good and not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            say(f"logs, histories and data directories are in {folder}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
