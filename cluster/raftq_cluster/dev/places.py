"""Where the nodes of ``raftqd dev`` are: addresses that are surely free, and directories.

The ports are held from the first moment to the last by sockets that are bound and do not listen: a taken
port is told before anything has started, and no other program gets the port of a node that was killed.
Source: socket(7), SO_REUSEADDR: of several sockets bound to a port, one may listen.
"""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from raftq_cluster.config import EXIT_USAGE, StartError
from raftq_cluster.config.settings import Address

NODES_MAX: Final = 7  # so many members may vote
PORTS_APART: Final = 10  # between a node and the next
_PROTOCOLS: Final = ("http", "text", "peer")
_NODE_FILE: Final = "node.toml"  # in the data directory of every node
_PEERS_FILE: Final = "dev-peers"  # in a directory of several nodes: where they find each other


class DevOptions(NamedTuple):
    """What ``raftqd dev`` was told. The addresses are those of the first node."""

    memory: bool
    data_dir: str | None
    nodes: int
    http: str
    text: str
    peer: str


class Place(NamedTuple):
    """Where one node is."""

    node_id: str
    http: Address
    text: Address
    peer: Address
    data_dir: Path


def check(options: DevOptions) -> None:
    """Refuse what makes no sense.

    Raises:
        StartError: one sentence that names the flag.
    """
    if not 1 <= options.nodes <= NODES_MAX:
        raise _usage(f"--nodes: {options.nodes} is not from 1 to {NODES_MAX}")
    if options.nodes % 2 == 0:
        raise _usage(
            f"--nodes: {options.nodes} nodes survive no more deaths than {options.nodes - 1}:"
            f" give an odd number, {options.nodes - 1} or {options.nodes + 1}"
        )
    if options.memory and options.data_dir:
        raise _usage("--memory: nothing is kept, so --data-dir cannot be")
    if options.data_dir:
        _check_directory(Path(options.data_dir), options.nodes)


def _check_directory(folder: Path, nodes: int) -> None:
    found = len(list(folder.glob(f"n[0-9]/{_NODE_FILE}")))
    if (folder / _NODE_FILE).exists():
        found = 1
    if found and found != nodes:
        raise _usage(
            f"--data-dir: {folder} holds the data of --nodes {found}: say that, or name another one"
        )


@contextmanager
def held_places(options: DevOptions, folder: Path) -> Iterator[list[Place]]:
    """Give the places of all nodes, and hold their ports for the duration. ``folder`` has the data.

    Raises:
        StartError: an address is none, is not of this machine alone, or is taken.
    """
    wanted = _wanted(options, folder)
    holders: list[socket.socket] = []
    try:
        places = []
        for number, addresses in enumerate(wanted):
            node_id = f"n{number + 1}"
            held = {}
            for name, address in addresses.items():
                holder = _hold(name if options.nodes == 1 else f"{name} of {node_id}", address)
                holders.append(holder)
                held[name] = Address(address.host, holder.getsockname()[1])
            data_dir = folder if options.nodes == 1 else folder / node_id
            places.append(Place(node_id=node_id, data_dir=data_dir, **held))
        if options.nodes > 1:
            text = "".join(f"{place.peer}\n" for place in places)
            (folder / _PEERS_FILE).write_text(text, encoding="ascii")
        yield places
    finally:
        for holder in holders:
            holder.close()


def _wanted(options: DevOptions, folder: Path) -> list[dict[str, Address]]:
    """Where each node is to listen: all of it is looked at before the first port is."""
    firsts = {name: _loopback(name, getattr(options, name)) for name in _PROTOCOLS}
    wanted = [
        {name: _further(name, first, number) for name, first in firsts.items()}
        for number in range(options.nodes)
    ]
    for addresses, peer in zip(wanted, _kept_peers(folder), strict=False):
        addresses["peer"] = peer
    return wanted


def _kept_peers(folder: Path) -> list[Address]:
    """Where the nodes whose data is here know each other; they cannot all move at once."""
    try:
        lines = (folder / _PEERS_FILE).read_text(encoding="ascii").splitlines()
        return [Address.parse(line) for line in lines]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise StartError(f"--data-dir: {folder / _PEERS_FILE} cannot be read: {error}") from error


def _loopback(name: str, text: str) -> Address:
    try:
        address = Address.parse(text)
    except ValueError:
        raise _usage(f"--{name}: {text!r} is not HOST:PORT") from None
    if not address.is_loopback:
        raise _usage(f"--{name}: dev is for this machine alone, and {address} is not on loopback")
    return address


def _further(name: str, first: Address, number: int) -> Address:
    if first.port == 0:
        return first
    port = first.port + PORTS_APART * number
    if port > 65_535:
        raise _usage(f"--{name}: {first} leaves no ports for {number} nodes after the first")
    return Address(first.host, port)


def _hold(whose: str, address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    holder = socket.socket(family)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(address)
    except OSError as error:
        holder.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(f"--{whose}: {address} is taken by another process") from error
        raise StartError(f"--{whose}: {address} cannot be used: {error.strerror}") from error
    return holder


def _usage(sentence: str) -> StartError:
    return StartError(sentence, exit_code=EXIT_USAGE)
