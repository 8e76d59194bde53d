"""Whether decoded operations have the shapes that the state machine relies on.

A node builds operations of good shape; what another node forwards is checked here, once, before it is logged:
an operation of a bad shape could raise out of ``apply``, on every node. What the operation asks for may be
nonsense; refusing that is the machine's.

The shapes are written as types, so that msgspec checks them: 0.1 to 0.3 us an operation, where the same
checks in Python take 1 to 2.3 (``scripts/bench``, core). What it builds meanwhile is thrown away.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.record_shapes import NUMBER_MAX, check_records
from raftq_cluster.core import operations as op

_Number: TypeAlias = Annotated[int, msgspec.Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]
_Lease: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=NUMBER_MAX)]
_Arrival: TypeAlias = Annotated[int, msgspec.Meta(ge=op.KEEP, le=op.HOLD_UNTIL)]
_Kind: TypeAlias = Annotated[int, msgspec.Meta(ge=op.JSON, le=op.BYTES)]
_Order: TypeAlias = Literal["random", "fifo", "priority"]
_Insert: TypeAlias = tuple[str, str, _Arrival, _Number, bytes, _Kind, _Number, _Number, str, bool]
_Change: TypeAlias = tuple[
    str,
    _Number,
    str | None,
    _Arrival,
    _Number,
    bytes | None,
    _Kind,
    _Number | None,
    _Number | None,
    str | None,
]
_Target: TypeAlias = tuple[str, _Number]
_DocInsert: TypeAlias = tuple[str, str, str, str, _Arrival, _Number, bytes, _Kind]
_DocChange: TypeAlias = tuple[str, str, _Number, _Arrival, _Number, bytes | None, _Kind]
_DocTarget: TypeAlias = tuple[str, str, _Number, str]
_SetLease: TypeAlias = tuple[str, str, _Number, _Arrival, _Number]
_DocParts: TypeAlias = tuple[
    tuple[_DocInsert, ...],
    tuple[_DocChange, ...],
    tuple[_DocTarget, ...],
    tuple[_DocTarget, ...],
    tuple[_SetLease, ...],
]


class _Shape(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """An array of exactly these fields behind the number of its kind."""


class _Once(_Shape):
    """What every operation with an idempotency key begins with."""

    key: str
    mark: bytes


class _Claim(_Once, tag=op.CLAIM):
    claimant: str
    queues: tuple[str, ...]
    lease_ms: _Number
    limit: _Number
    serial: bool


class _Modify(_Once, tag=op.MODIFY):
    claimant: str
    inserts: tuple[_Insert, ...]
    changes: tuple[_Change, ...]
    deletes: tuple[_Target, ...]
    depends: tuple[_Target, ...]


class _Renew(_Once, tag=op.RENEW):
    claimant: str
    targets: tuple[_Target, ...]
    lease_ms: _Number


class _Settle(_Once, tag=op.SETTLE):
    action: str
    queue: str
    serial: _Number
    ms: _Number


class _Configure(_Once, tag=op.CONFIGURE):
    pattern: str
    order: _Order | None
    paused: bool | None
    lease_ms: _Lease | None


class _ConfigureBounded(_Once, tag=op.CONFIGURE_BOUNDED):
    pattern: str
    order: _Order | None
    paused: bool | None
    lease_ms: _Lease | None
    lease_ms_min: _Lease | None
    lease_ms_max: _Lease | None


class _Tick(_Shape, tag=op.TICK):
    """Nothing more."""


class _Forget(_Shape, tag=op.FORGET):
    keys: tuple[str, ...]


class _Transact(_Once, tag=op.TRANSACT):
    claimant: str
    inserts: tuple[_Insert, ...]
    changes: tuple[_Change, ...]
    deletes: tuple[_Target, ...]
    depends: tuple[_Target, ...]
    queues: tuple[tuple[str, str], ...]
    resets: tuple[str, ...]
    docs: _DocParts


class _ClaimDocs(_Once, tag=op.CLAIM_DOCS):
    claimant: str
    sets: tuple[tuple[str, str, bool], ...]
    lease_ms: _Number
    task: tuple[str, _Number, str]


class _Verify(_Shape, tag=op.VERIFY):
    """Nothing more."""


class _Import(_Shape, tag=op.IMPORT):
    step: Literal["begin", "part", "end", "abandon"]
    id: str
    number: Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]
    records: tuple[Any, ...]  # checked by themselves


class _Collect(_Shape, tag=op.COLLECT):
    queue: str
    limit: Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]


class _CollectDocs(_Shape, tag=op.COLLECT_DOCS):
    namespace: str
    key: str
    ids: tuple[str, ...]


class _Guarded(_Once, tag=op.GUARD):
    grants: tuple[tuple[str, _Number], ...]
    operation: _Modify | _Renew | _Transact | _ClaimDocs


_Operations: TypeAlias = list[
    _Claim
    | _Modify
    | _Renew
    | _Settle
    | _Configure
    | _ConfigureBounded
    | _Tick
    | _Forget
    | _Transact
    | _ClaimDocs
    | _Verify
    | _Import
    | _Collect
    | _CollectDocs
    | _Guarded
]
# bytes are bytes: without this, text would pass for them as Base64.
_convert: Final = partial(msgspec.convert, type=_Operations, builtin_types=(bytes,))


def check_segment(operations: Sequence[Any]) -> None:
    """Check the operations of a segment as ``decode_segment`` gives them.

    Raises:
        CodecError: one of them has not the shape of an operation.
    """
    try:
        _convert(operations)
    except msgspec.ValidationError as error:
        raise CodecError(f"malformed operations: {error}") from None
    for operation in operations:
        if operation[0] == op.IMPORT:
            if len(operations) > 1:  # what comes behind it would meet another state
                raise CodecError("a step of an import is not alone")
            check_records(operation[4])
