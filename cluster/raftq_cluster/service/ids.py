"""Ids for tasks whose caller gave none: a random prefix per node process, and a counter.

Sixty random bits per start of a node make two alike prefixes as good as impossible, and an
id costs a tenth of a random one (``scripts/bench``).
"""

import secrets
from collections.abc import Callable
from itertools import count
from typing import Final

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: no i, l, o, u
_PREFIX_CHARS: Final = 12


def id_source(prefix: str | None = None) -> Callable[[], str]:
    """Make a function that gives a new id at each call: a prefix and a hexadecimal number."""
    if prefix is None:
        prefix = "".join(secrets.choice(_ALPHABET) for _ in range(_PREFIX_CHARS))
    numbers = count(1)
    return lambda: f"{prefix}{next(numbers):x}"
