"""Values and error texts: from documents to the bytes that are stored."""

from typing import TypeVar

from msgspec import Raw, UnsetType

from raftq.wire.formats import Format, MalformedError, value_to_json
from raftq_cluster.core import operations as op
from raftq_cluster.service.limits import Limits
from raftq_cluster.service.refusals import Refusal, over_limit

T = TypeVar("T")


def given(value: T | UnsetType) -> T | None:
    """Give what a document has in a field, None if it has nothing there."""
    return None if isinstance(value, UnsetType) else value


def check_value(value: bytes, limits: Limits) -> None:
    """Refuse a value that is too large.

    Raises:
        Refusal: ``too_large``, naming the limit.
    """
    if len(value) > limits.value_bytes_max:
        raise over_limit(
            "too_large",
            f"the value has {len(value)} bytes",
            "value_bytes_max",
            limits.value_bytes_max,
        )


def value_of(
    value: Raw | UnsetType,
    value_b64: bytes | UnsetType,
    path: str,
    limits: Limits,
    fmt: Format,
) -> tuple[bytes | None, int]:
    """Give the bytes to store and their kind; None: no value was given.

    Raises:
        Refusal: ``invalid``, ``too_large``.
    """
    if not isinstance(value_b64, UnsetType):
        if not isinstance(value, UnsetType):
            raise Refusal("invalid", "value and value_b64 exclude each other", field=path)
        check_value(value_b64, limits)
        return value_b64, op.BYTES
    if isinstance(value, UnsetType):
        return None, op.JSON
    try:
        text = value_to_json(value, fmt)
    except MalformedError as error:
        raise Refusal("invalid", str(error), field=f"{path}.value") from None
    check_value(text, limits)
    return text, op.JSON


def check_err(err: str, limits: Limits) -> None:
    """Refuse an error text that is too long. Raises as :func:`check_value`."""
    if len(err) * 4 > limits.err_bytes_max and len(err.encode()) > limits.err_bytes_max:
        raise over_limit(
            "too_large", "the error text is too long", "err_bytes_max", limits.err_bytes_max
        )
