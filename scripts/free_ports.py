"""Loopback ports for servers that are still to be started, and to be started again.

A port where nobody listened a moment ago may be given meanwhile to an outgoing connection, or to another process that
looked at the same moment. So these lie below the ports from which systems serve outgoing connections (Linux: from 32768 on),
and each process has a block of its own, held for its life by a UDP socket, which is in no TCP server's way.
Standard library alone.
"""

import atexit
import os
import socket
from collections import deque
from functools import cache
from typing import Final

_HOST: Final = "127.0.0.1"
_FIRST: Final = 20_000
_BLOCKS: Final = 60
_BLOCK: Final = 200  # ports; a cluster of one test needs a dozen at once


def free_ports(count: int) -> list[int]:
    """So many different ports of 127.0.0.1 where nobody listens, given before as long ago as there are.

    Raises ``RuntimeError`` if there are not so many.
    """
    return _block_of(os.getpid()).take(count)


def free_address() -> str:
    """One of them, as ``HOST:PORT``."""
    return f"{_HOST}:{free_ports(1)[0]}"


def free_or_any(port: int) -> int:
    """The port if nobody listens there, else 0: any free one."""
    return port if _is_free(port) else 0


class _Block:
    """The ports of one process."""

    def __init__(self, ports: range) -> None:
        self._ports = deque(ports)  # the next to give is at the left

    def take(self, count: int) -> list[int]:
        found: list[int] = []
        for _ in range(len(self._ports)):
            if len(found) == count:
                break
            port = self._ports[0]
            self._ports.rotate(-1)
            if _is_free(port):
                found.append(port)
        if len(found) < count:
            raise RuntimeError(f"{len(found)} of {len(self._ports)} ports are free, not {count}")
        return found


@cache
def _block_of(_process: int) -> _Block:
    """Keyed by process, since a fork would inherit its parent's block."""
    for first in range(_FIRST, _FIRST + _BLOCKS * _BLOCK, _BLOCK):
        hold = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            hold.bind((_HOST, first))
        except OSError:
            hold.close()
            continue
        atexit.register(hold.close)
        return _Block(range(first, first + _BLOCK))
    raise RuntimeError(f"{_BLOCKS} processes hold ports for their servers: end some of them")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # those who closed may linger
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True
