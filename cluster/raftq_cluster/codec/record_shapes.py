"""Whether the records of an export or a snapshot have the shapes that the state machine relies on.

They come from a file that anybody may have written, or from another node. A record of a bad shape could raise out of ``apply``, on
every node, when it is taken or long afterwards. Whether records fit together is the machine's to say.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from raftq_cluster.codec.errors import CodecError
from raftq_cluster.core import operations as op
from raftq_cluster.core import snapshot
from raftq_cluster.core.outcomes import FailedDoc

# Far beyond any time, version or count, and far from where sums of them leave 64 bits.
NUMBER_MAX: Final = 2**53
SIZE_MAX: Final = (
    2**31 - 1
)  # of one record of an idempotency key: sums of them are hashed as 64 bits

_Number: TypeAlias = Annotated[int, msgspec.Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]
# A moment of now and a duration that an operation may name: their sum.
_Moment: TypeAlias = Annotated[int, msgspec.Meta(ge=-2 * NUMBER_MAX, le=2 * NUMBER_MAX)]
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]
_First: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=NUMBER_MAX)]
_Kind: TypeAlias = Annotated[int, msgspec.Meta(ge=op.JSON, le=op.BYTES)]
_TaskRow: TypeAlias = tuple[
    str, _Count, str, _Moment, bytes, _Kind, str, _Count, _Number, _Number, str,
    _Number, _Number, _Count,
]  # fmt: skip
_DocRow: TypeAlias = tuple[str, str, _Count, str, str, str, _Moment, bytes, _Kind, _Number, _Number]
_SetRow: TypeAlias = tuple[str, str, _Count, str, _Moment, _Count]
_LostTask: TypeAlias = tuple[str, str]
_FailedPart: TypeAlias = tuple[str, _Number, str, str, _Number, str, _Number]
_FailedDoc: TypeAlias = tuple[str, _Number, str, str, _Number, str, _Number, str, str]
_Tasks: TypeAlias = tuple[_TaskRow, ...]
_Docs: TypeAlias = tuple[_DocRow, ...]
_Sets: TypeAlias = tuple[_SetRow, ...]

# What an idempotency key may have been answered, by the outcome's name.
_ANSWERS: Final[dict[str, Any]] = {
    "Claimed": tuple[_Tasks],
    "Modified": tuple[_Tasks, _Tasks],
    "Renewed": tuple[_Tasks, tuple[_LostTask, ...]],
    "Settled": tuple[_TaskRow],
    "Done": tuple[()],
    "Refused": tuple[str, str, tuple[tuple[Any, ...], ...], str, _Number],
    "Transacted": tuple[_Tasks, _Tasks, _Docs, _Docs, _Sets],
    "DocsClaimed": tuple[_Sets, _Docs],
}


class _Record(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """An array of exactly these fields behind the number of its kind."""


class _Setting(_Record, tag=snapshot.SETTING):
    pattern: str
    order: Literal["random", "fifo", "priority"] | None
    paused: bool | None
    lease_ms: _First | None
    lease_ms_min: _First | None = None
    lease_ms_max: _First | None = None


class _Queue(_Record, tag=snapshot.QUEUE):
    name: str
    next_serial: _First
    serial_born: bool


class _Ready(_Record, tag=snapshot.READY):
    seq: _First
    row: _TaskRow


class _Waiting(_Record, tag=snapshot.WAITING):
    seq: _First
    row: _TaskRow


class _Key(_Record, tag=snapshot.KEY):
    key: str
    mark: bytes
    expires_at: _Moment
    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=SIZE_MAX)]
    name: str
    outcome: tuple[Any, ...]


class _DocSet(_Record, tag=snapshot.DOC_SET):
    namespace: str
    key: str
    version: _Count
    claimant: str
    at: _Moment
    modified: _Number


class _Doc(_Record, tag=snapshot.DOC):
    id: str
    secondary_key: str
    value: bytes
    kind: _Kind
    created: _Number
    modified: _Number


class _Head(_Record, tag=snapshot.HEAD):
    version: int
    index: _Count
    now_ms: _Count
    seq: _Count
    chain: Annotated[int, msgspec.Meta(ge=0)]


class _Import(_Record, tag=snapshot.IMPORT):
    id: str
    parts: _Count
    failure: str
    is_over: bool


class _End(_Record, tag=snapshot.END):
    count: _Count


_Records: TypeAlias = list[_Setting | _Queue | _Ready | _Waiting | _Key | _DocSet | _Doc]
_Snapshot: TypeAlias = list[
    _Setting | _Queue | _Ready | _Waiting | _Key | _DocSet | _Doc | _Head | _Import | _End
]
# bytes are bytes: without this, text would pass for them as Base64.
_convert: Final = partial(msgspec.convert, builtin_types=(bytes,))


def check_records(records: Sequence[Any]) -> None:
    """Check records of an export as ``decode_chunk`` gives them.

    Raises:
        CodecError: one of them has not the shape of a record.
    """
    _check(records, _Records)


def check_snapshot(records: Sequence[Any]) -> None:
    """Check records of a snapshot that another node has sent; as :func:`check_records`.

    A snapshot of a version that is not known here has other shapes, and is refused for it further on.
    """
    first: Any = records[0] if records else ()
    is_head = type(first) is tuple and len(first) > 1 and first[0] == snapshot.HEAD
    if not is_head or first[1] in snapshot.VERSIONS_READ:
        _check(records, _Snapshot)


def _check(records: Sequence[Any], type_: Any) -> None:
    try:
        for record in _convert(records, type_):
            if isinstance(record, _Key):
                _check_answer(record)
    except msgspec.ValidationError as error:
        raise CodecError(f"malformed records: {error}") from None


def _check_answer(record: _Key) -> None:
    shape = _ANSWERS.get(record.name)
    if shape is None:
        raise CodecError(f"malformed records: no outcome is called {record.name!r}")
    outcome = _convert(record.outcome, shape)
    if record.name == "Refused":
        for part in outcome[2]:
            is_doc = len(part) == len(FailedDoc._fields)
            _convert(part, _FailedDoc if is_doc else _FailedPart)
