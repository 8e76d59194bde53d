"""Whether decoded operations have the shapes that the state machine relies on.

A node builds operations of good shape; what another node forwards is checked here, once, before it is logged:
an operation of a bad shape could raise out of ``apply``, on every node. What the operation asks for may be
nonsense; refusing that is the machine's.
"""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any, Final

from raftq_cluster.codec.errors import CodecError
from raftq_cluster.core import operations as op
from raftq_cluster.core.ready import FIFO, PRIORITY, RANDOM

# Far beyond any time, version or count, and far from where sums of them leave 64 bits.
NUMBER_MAX: Final = 2**53

_NONE: Final = type(None)


def _shapes(*fields: type | tuple[type, ...]) -> frozenset[tuple[type, ...]]:
    """Every combination of the types that each field may have."""
    choices = [field if isinstance(field, tuple) else (field,) for field in fields]
    return frozenset(product(*choices))


_HEAD: Final = (int, str, bytes, str)
_OPERATIONS: Final = {
    op.CLAIM: _shapes(*_HEAD, tuple, int, int, bool),
    op.MODIFY: _shapes(*_HEAD, tuple, tuple, tuple, tuple),
    op.RENEW: _shapes(*_HEAD, tuple, int),
    op.SETTLE: _shapes(*_HEAD, str, int, int),
    op.CONFIGURE: _shapes(*_HEAD, (str, _NONE), (bool, _NONE), (int, _NONE)),
    op.TICK: _shapes(int),
    op.FORGET: _shapes(int, tuple),
}
_INSERT: Final = _shapes(str, str, int, int, bytes, int, int, int, str, bool)
_CHANGE: Final = _shapes(
    str, int, (str, _NONE), int, int, (bytes, _NONE), int, (int, _NONE), (int, _NONE), (str, _NONE)
)
_TARGET: Final = _shapes(str, int)
_TEXT: Final = frozenset((str,))
_ORDERS: Final = (None, RANDOM, FIFO, PRIORITY)


def check_segment(operations: Sequence[Any]) -> None:
    """Check the operations of a segment as ``decode_segment`` gives them.

    Raises:
        CodecError: one of them has not the shape of an operation.
    """
    for operation in operations:
        if type(operation) is not tuple or not operation or type(operation[0]) is not int:
            raise CodecError("an operation is a tuple that begins with its kind")
        shapes = _OPERATIONS.get(operation[0])
        if shapes is None or tuple(map(type, operation)) not in shapes:
            raise CodecError(f"an operation of kind {operation[0]} is malformed")
        _check_numbers(operation)
        _check_parts(operation)


def _check_parts(operation: tuple[Any, ...]) -> None:
    kind = operation[0]
    if kind == op.MODIFY:
        _, _, _, _, inserts, changes, deletes, depends = operation
        _check_rows(inserts, _INSERT)
        _check_rows(changes, _CHANGE)
        _check_rows(deletes, _TARGET)
        _check_rows(depends, _TARGET)
        _check_arrivals(inserts, 2, 5)
        _check_arrivals(changes, 3, 6)
    elif kind == op.CLAIM:
        _check_texts(operation[4])
    elif kind == op.RENEW:
        _check_rows(operation[4], _TARGET)
    elif kind == op.FORGET:
        _check_texts(operation[1])
    elif kind == op.CONFIGURE and operation[4] not in _ORDERS:
        raise CodecError("an order of queues is not known")


def _check_rows(rows: Iterable[Any], shapes: frozenset[tuple[type, ...]]) -> None:
    for row in rows:
        if type(row) is not tuple or tuple(map(type, row)) not in shapes:
            raise CodecError("a part of an operation is malformed")
        _check_numbers(row)


def _check_numbers(row: tuple[Any, ...]) -> None:
    for value in row:
        if type(value) is int and not -NUMBER_MAX <= value <= NUMBER_MAX:
            raise CodecError("a number of an operation is out of range")


def _check_arrivals(rows: Iterable[tuple[Any, ...]], arrival: int, kind: int) -> None:
    for row in rows:
        if not (op.KEEP <= row[arrival] <= op.HOLD_UNTIL and op.JSON <= row[kind] <= op.BYTES):
            raise CodecError("how a task arrives, or what its value is, is not known")


def _check_texts(values: Iterable[Any]) -> None:
    if not _TEXT.issuperset(map(type, values)):
        raise CodecError("a name in an operation is no text")
