"""Who a client is, and the keys that make its calls repeatable."""

import os
import re
import secrets
import socket
from collections.abc import Callable
from itertools import count
from typing import Final

_KEY_RANDOM_BYTES: Final = 9  # two clients with the same prefix are as good as impossible
_HOST_CHARS_MAX: Final = 32  # a claimant has at most 64 bytes
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]")


def default_claimant() -> str:
    """Name this client: host, process and chance, so that no two clients hold each other's tasks."""
    host = _UNFIT.sub("-", socket.gethostname())[:_HOST_CHARS_MAX]
    return f"{host}.{os.getpid()}.{secrets.token_hex(4)}"


def key_source() -> Callable[[], str]:
    """Make a function that gives a new idempotency key at each call.

    A random prefix and a counter, which costs a tenth of a random key.
    A forked process must make its own source.
    """
    prefix = secrets.token_urlsafe(_KEY_RANDOM_BYTES)
    numbers = count(1)
    return lambda: f"{prefix}.{next(numbers)}"
