"""A network of the kernel's: one namespace for each place, pairs of interfaces, a bridge between them.

Cuts and losses are rules of nftables where packets arrive, so they are silent and directed. ``tc netem`` delays packets
where the kernel has it; elsewhere a token bucket makes a slow line with a queue. Everything is made and removed by this
program; names carry its process id, and what a killed run has left is removed by the next one.
"""

import asyncio
import ctypes
import os
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.chaos.networks.api import CLIENTS, HTTP, TEXT, Link, Slow

TOOLS: Final = ("ip", "nft", "tc", "nsenter")
NAMED: Final = Path("/run/netns")
_NET: Final = "10.77.0."
_PORTS: Final = {"peer": 7678, HTTP: 7677, TEXT: 7979}
_CLONE_NEWNET: Final = 0x40000000
_LEFT: Final = re.compile(r"rq(\d+)-\w+")
_QUEUE_MS: Final = 300  # of a slow line: what waits longer is dropped


class CommandError(RuntimeError):
    """A tool of the system refused."""


class Namespaces:
    """See the module. The program enters the namespace of the clients: ``enter``."""

    name = "network namespaces"

    def __init__(self, places: Sequence[str], label: str = "") -> None:
        self._label = label or f"rq{os.getpid()}"
        self._hosts = {CLIENTS: _NET + "1"}
        self._hosts.update({place: f"{_NET}{number}" for number, place in enumerate(places, 11)})
        self._made: list[str] = []
        self._cuts: set[Link] = set()
        self._slow: dict[str, Slow] = {}
        self._turn = asyncio.Lock()  # one change after the other: tools end in any order
        self.has_netem = False

    async def open(self) -> None:
        """Make namespaces, interfaces and the bridge."""
        await remove_left()
        hub = self._namespace(CLIENTS)
        for place in self._hosts:
            await _run("ip", "netns", "add", self._namespace(place))
            self._made.append(place)
        await _run("ip", "-n", hub, "link", "set", "lo", "up")
        await _run("ip", "-n", hub, "link", "add", "br0", "type", "bridge")
        await _run("ip", "-n", hub, "address", "add", self._hosts[CLIENTS] + "/24", "dev", "br0")
        await _run("ip", "-n", hub, "link", "set", "br0", "up")
        for place in self._hosts:
            if place != CLIENTS:
                await self._join(place, hub)
        self.has_netem = await self._probe_netem()

    async def _join(self, place: str, hub: str) -> None:
        """Connect a place to the bridge."""
        own, port = self._namespace(place), f"to-{place}"
        pair = ("type", "veth", "peer", "name", "eth0", "netns", own)
        await _run("ip", "-n", hub, "link", "add", port, *pair)
        await _run("ip", "-n", hub, "link", "set", port, "master", "br0", "up")
        await _run("ip", "-n", own, "link", "set", "lo", "up")
        await _run("ip", "-n", own, "address", "add", self._hosts[place] + "/24", "dev", "eth0")
        await _run("ip", "-n", own, "link", "set", "eth0", "up")

    async def _probe_netem(self) -> bool:
        place = self._namespace(next(place for place in self._hosts if place != CLIENTS))
        try:
            await _run(
                "tc", "-n", place, "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "1ms"
            )
        except CommandError:
            return False
        await _run("tc", "-n", place, "qdisc", "del", "dev", "eth0", "root")
        return True

    def enter(self) -> None:
        """Have this thread, and those that it starts from now on, be where the clients are."""
        enter(self._namespace(CLIENTS))

    async def close(self) -> None:
        """Remove all that was made."""
        for place in self._made:
            with suppress(CommandError):
                await _run("ip", "netns", "delete", self._namespace(place))
        self._made = []

    def _namespace(self, place: str) -> str:
        return f"{self._label}-{place}"

    def prefix(self, place: str) -> tuple[str, ...]:
        """Run it in the namespace of the place."""
        return ("nsenter", f"--net={NAMED / self._namespace(place)}", "--")

    def flags(self, place: str) -> tuple[str, ...]:
        """Usual ports on an address of its own."""
        doors = [(f"--{name}", f"{self._hosts[place]}:{port}") for name, port in _PORTS.items()]
        return (*(word for door in doors for word in door), "--insecure")

    def peer_address(self, place: str) -> str:
        """Where the node listens."""
        return f"{self._hosts[place]}:{_PORTS['peer']}"

    def client_address(self, place: str, door: str) -> tuple[str, int]:
        """Where the node listens."""
        return self._hosts[place], _PORTS[door]

    async def set_cuts(self, cuts: Collection[Link]) -> None:
        """Drop what arrives from the other end of a cut."""
        async with self._turn:
            changed = {target for _, target in self._cuts ^ set(cuts)}
            self._cuts = set(cuts)
            for place in sorted(changed):
                await self._filter(place)

    async def set_slow(self, places: Mapping[str, Slow]) -> None:
        """Delay or throttle what leaves, drop some of what arrives."""
        wanted = dict(places)
        async with self._turn:
            before, self._slow = self._slow, wanted
            for place in sorted(before.keys() | wanted.keys()):
                slow = wanted.get(place, Slow())
                if slow == before.get(place, Slow()):
                    continue
                await self._filter(place)
                await self._shape(place, slow)

    async def _filter(self, place: str) -> None:
        """Replace the rules of a place, all at once."""
        blocked = [self._hosts[source] for source, target in sorted(self._cuts) if target == place]
        rules = [f"ip saddr {{ {', '.join(blocked)} }} drop"] if blocked else []
        if loss := self._slow.get(place, Slow()).loss_percent:
            rules.append(f"numgen random mod 100 < {loss} drop")
        hook = "type filter hook input priority -300; policy accept;"
        script = "\n".join([
            "add table ip chaos", "delete table ip chaos", "table ip chaos {", "chain arriving {",
            hook, *rules, "}", "}", "",
        ])  # fmt: skip
        await _run(*self.prefix(place), "nft", "-f", "-", text=script)

    async def _shape(self, place: str, slow: Slow) -> None:
        line = ("tc", "-n", self._namespace(place), "qdisc")
        with suppress(CommandError):  # there may be none
            await _run(*line, "del", "dev", "eth0", "root")
        kind: tuple[str, ...] = ()
        if self.has_netem and (slow.delay_ms or slow.rate_kbit):
            kind = ("netem", "delay", f"{slow.delay_ms}ms", f"{slow.delay_ms // 3}ms")
            kind += ("rate", f"{slow.rate_kbit}kbit") if slow.rate_kbit else ()
        elif slow.rate_kbit:
            kind = (
                "tbf",
                "rate",
                f"{slow.rate_kbit}kbit",
                "burst",
                "16kb",
                "latency",
                f"{_QUEUE_MS}ms",
            )
        if kind:
            await _run(*line, "add", "dev", "eth0", "root", *kind)


async def can_be_made() -> str:
    """Try whether namespaces can be made here. Gives why not, or nothing."""
    if os.geteuid() != 0:
        return "not root"
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"{', '.join(missing)} not installed"
    trial = Namespaces(["n1", "n2"], f"rq{os.getpid()}-trial")
    try:
        await trial.open()
        await trial.set_cuts([("n1", "n2")])
        await _run(*trial.prefix("n1"), "true")
    except CommandError as error:
        return str(error)
    finally:
        await trial.close()
    return ""


async def remove_left() -> None:
    """Remove namespaces of runs that are gone."""
    for path in NAMED.glob("rq*-*") if NAMED.is_dir() else ():
        found = _LEFT.match(path.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            with suppress(CommandError):
                await _run("ip", "netns", "delete", path.name)


def enter(namespace: str) -> None:
    """Move this thread into a named network namespace.

    Raises:
        OSError: it cannot.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with (NAMED / namespace).open("rb") as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter namespace {namespace}")


async def _run(*command: str, text: str = "") -> None:
    """Run a tool to its end.

    Raises:
        CommandError: it fails; the message has its own words.
    """
    try:
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise CommandError(f"{command[0]}: {error}") from error
    _, said = await child.communicate(text.encode())
    if child.returncode:
        raise CommandError(f"{' '.join(command)}: {said.decode(errors='replace').strip()}")
