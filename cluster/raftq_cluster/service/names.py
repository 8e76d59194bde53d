"""What names may be: printable, without spaces, short. Checked here once for every dialect.

A space, a line feed or a NUL in a queue's name could not be echoed by the text protocol.
"""

from functools import lru_cache
from typing import Final

from raftq_cluster.service.refusals import Refusal, over_limit

_CACHED: Final = 4_096  # names already found good: callers use the same few all the time
ID_BYTES_MAX: Final = 64
CLAIMANT_BYTES_MAX: Final = 64
QUEUE_BYTES_MAX: Final = 256
KEY_BYTES_MAX: Final = 128
NAMESPACE_BYTES_MAX: Final = 1_024  # EntroQ's
DOC_KEY_BYTES_MAX: Final = 256


@lru_cache(_CACHED)
def check_queue(name: str, field: str = "queue") -> None:
    """Refuse what cannot be a queue's name.

    Raises:
        Refusal: ``invalid``, naming the field; ``too_large``, naming the limit.
    """
    _check(name, "a queue's name", field, QUEUE_BYTES_MAX, "queue_name_bytes_max")


@lru_cache(_CACHED)
def check_claimant(name: str, field: str = "claimant") -> None:
    """Refuse what cannot be a claimant. Raises as :func:`check_queue`."""
    _check(name, "a claimant", field, CLAIMANT_BYTES_MAX, "claimant_bytes_max")


def check_id(id_: str, field: str = "id") -> None:
    """Refuse what cannot be a task's id. Raises as :func:`check_queue`."""
    _check(id_, "an id", field, ID_BYTES_MAX, "id_bytes_max")


def check_key(key: str, field: str = "idempotency_key") -> None:
    """Refuse what cannot be an idempotency key; "" is none. Raises as :func:`check_queue`."""
    if key:
        _check(key, "an idempotency key", field, KEY_BYTES_MAX, "key_bytes_max")


@lru_cache(_CACHED)
def check_namespace(name: str, field: str = "namespace") -> None:
    """Refuse what cannot be a namespace of docs. Raises as :func:`check_queue`."""
    _check(name, "a namespace", field, NAMESPACE_BYTES_MAX, "namespace_bytes_max")


def check_doc_key(key: str, field: str = "key") -> None:
    """Refuse what cannot be a key of docs; "" can. Raises as :func:`check_queue`."""
    if "\0" in key:
        raise Refusal("invalid", "a doc's key has a NUL", field=field)
    size = len(key) if key.isascii() else len(key.encode())
    if size > DOC_KEY_BYTES_MAX:
        what = f"a doc's key has {size} bytes"
        raise over_limit("too_large", what, "doc_key_bytes_max", DOC_KEY_BYTES_MAX)


def _check(name: str, what: str, field: str, bytes_max: int, limit_name: str) -> None:
    if not name:
        raise Refusal("invalid", f"{what} cannot be empty", field=field)
    if not name.isprintable() or " " in name:  # nothing printable fails to be UTF-8
        raise Refusal("invalid", f"{what} has a space or a control character", field=field)
    size = len(name) if name.isascii() else len(name.encode())
    if size > bytes_max:
        raise over_limit("too_large", f"{what} has {size} bytes", limit_name, bytes_max)
