"""Segments of operations: what is taken from a peer can be applied, and the state goes on from a snapshot alike.

The first byte chooses: any bytes as a segment, or operations of good shape whose fields say anything.
"""

from collections.abc import Callable, Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

from raftq_cluster.codec import record_shapes, shapes
from raftq_cluster.codec.entries import decode_segment, encode_segment
from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.record_shapes import check_snapshot
from raftq_cluster.codec.shapes import check_segment
from raftq_cluster.codec.snapshots import decode_chunk, encode_chunk
from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.restoring import restore
from tests.fuzz.source import Source

NOW_MS: Final = 1_800_000_000_000
TEXTS: Final = ("a", "b", "c", "", "/q", "/q*", "*", "w1", "w2", "k1", "k2", op.ACK, op.TOUCH, op.NACK,
                "\0", "a\nb", "\u00fc\U0001f600", "q" * 300)  # fmt: skip
NUMBERS: Final = (0, 1, 2, 3, 1, 2, -1, 4, 100, 1_000, 1_024, NOW_MS, NOW_MS + 5_000, 2**31, 2**53 - 1,
                  2**53, -(2**53))  # fmt: skip
BYTES: Final = (b"", b"1", b"{}", b"m", b"\xff\0", b"x" * 70)
QUERIES: Final = (
    queries.Queues((), (), 10),
    queries.Tasks("/q", "", (), 10, omit_values=False),
    queries.Tasks("", "", ("a", "b"), 10, omit_values=True),
    queries.Docs("a", (), None, "", "", 10, False),
    queries.Namespaces((), (), 10),
    queries.AllSettings(),
    queries.Time(),
)
OPERATIONS: Final = get_args(get_args(shapes._Operations)[0])
RECORDS: Final = get_args(get_args(record_shapes._Records)[0])
TAGS: Final = {shape: shape.__struct_config__.tag for shape in (*OPERATIONS, *RECORDS)}


def made(type_: Any, source: Source) -> Any:
    """Make a value of a shape's type."""
    if type_ is record_shapes._Key:
        name = source.pick(list(record_shapes._ANSWERS))
        answer = made(record_shapes._ANSWERS[name], source)
        return (TAGS[type_], "k1", b"m", source.pick(NUMBERS), 1, name, answer)
    if type_ in TAGS:
        fields = [made(field.type, source) for field in msgspec.structs.fields(type_)]
        return (TAGS[type_], *fields)
    origin = get_origin(type_)
    if origin in _MAKERS:
        return _MAKERS[origin](get_args(type_), source)
    return _PLAIN[type_](source)


def _number(arguments: tuple[Any, ...], source: Source) -> int:
    number = source.pick(NUMBERS)
    least, most = arguments[1].ge, arguments[1].le
    return int(min(max(number, least), most))


def _tuple(arguments: tuple[Any, ...], source: Source) -> tuple[Any, ...]:
    if arguments[-1:] == (...,):
        return tuple(made(arguments[0], source) for _ in range(source.below(4)))
    return tuple(made(part, source) for part in arguments)


def _record(source: Source) -> Any:
    if source.below(8) == 7:
        return source.pick((*NUMBERS, *TEXTS, (), (3, 1), (3, 1, ())))
    return made(source.pick(RECORDS), source)


_MAKERS: Final[dict[Any, Callable[[tuple[Any, ...], Source], Any]]] = {
    Annotated: _number,
    Literal: lambda arguments, source: source.pick(arguments),
    Union: lambda arguments, source: made(source.pick(arguments), source),
    UnionType: lambda arguments, source: made(source.pick(arguments), source),
    tuple: _tuple,
}
_PLAIN: Final[dict[Any, Callable[[Source], Any]]] = {
    NoneType: lambda _source: None,
    bool: lambda source: bool(source.below(2)),
    str: lambda source: source.pick(TEXTS),
    bytes: lambda source: source.pick(BYTES),
    Any: _record,
}


def checked(segment: bytes) -> list[Any] | None:
    """The operations of a peer's segment; None if it is refused."""
    try:
        operations = decode_segment(segment)
        check_segment(operations)
    except CodecError:
        return None
    return operations


def fuzz(data: bytes) -> None:
    """Take segments as from a peer, apply them, and go on from a snapshot."""
    source = Source(data)
    machine = Machine()
    is_raw = source.below(3) == 2
    if is_raw:
        _apply(
            machine, [(op.MODIFY, "", b"", "w1", (_insert("a"), _insert("b")), (), (), ())], source
        )
    for _ in range(1 + source.below(6)):
        if is_raw:
            operations = checked(source.rest())
            if operations is None:
                return
        else:
            some = range(1 + source.below(4))
            operations = [made(source.pick(OPERATIONS), source) for _ in some]
            taken = checked(encode_segment(operations))
            if taken is None:
                assert any(operation[0] == op.IMPORT for operation in operations)
                continue  # a part with records that are none
            assert taken == operations, "what has the shape is taken, and is what it was"
        assert decode_segment(encode_segment(operations)) == operations
        _apply(machine, operations, source)
        if is_raw:
            break
    _compare(machine, _copy(machine))


def _insert(id_: str) -> tuple[Any, ...]:
    return tuple(op.Insert("/q", id_, value=b"1"))


def _apply(machine: Machine, operations: list[Any], source: Source) -> None:
    now_ms = max(machine.now_ms, NOW_MS) + source.pick((0, 1, 1_024, 5_000, 400_000, -3_000))
    applied = machine.apply(machine.index + 1, now_ms, source.byte(), [operations])
    assert len(applied.outcomes[0]) == len(operations)


def _copy(machine: Machine) -> Machine:
    chunks = [decode_chunk(encode_chunk(records)) for records in machine.snapshot(7)]
    for records in chunks:
        check_snapshot(records)  # another node will take it
    return restore(chunks)


def _compare(machine: Machine, copy: Machine) -> None:
    assert copy.digest() == machine.digest()
    later_ms = machine.now_ms + 1_000_000
    claim = op.Claim(op.CLAIM, "", b"", "w", ("/q", "a", "b"), 1, 9, True)
    for one in (machine, copy):
        one.apply(one.index + 1, later_ms, 7, [[op.Tick(), claim]])
    for query in QUERIES:
        assert machine.query(query, NOW_MS) == copy.query(query, NOW_MS)
    assert copy.digest() == machine.digest()
    assert copy.chain == machine.chain


def seeds() -> Iterator[bytes]:
    """Segments as nodes make them, and scripts of several kinds of operations."""
    insert = _insert("c")
    operations: list[Any] = [
        (op.CLAIM, "k1", b"m", "w1", ("/q", "a"), 1_000, 2, True),
        (
            op.MODIFY,
            "",
            b"",
            "w1",
            (insert,),
            (tuple(op.Change("a", 1)),),
            (("b", 1),),
            (("a", 1),),
        ),
        (op.RENEW, "", b"", "w1", (("a", 1),), 1_000),
        (op.SETTLE, "", b"", op.ACK, "/q", 1, 0),
        (op.CONFIGURE, "", b"", "/q*", "fifo", True, 1_000),
        (op.TICK,),
        (op.FORGET, ("k1",)),
        (op.TRANSACT, "", b"", "w", (), (), (), (), (("a", "/q"),), ("a",), ((), (), (), (), ())),
        (op.CLAIM_DOCS, "", b"", "w", (("n", "k", False),), 1_000, ("", 0, "")),
        (op.VERIFY,),
    ]
    for operation in operations:
        yield bytes((2, 0, 0)) + encode_segment([operation])
    guarded: Any = (op.GUARD, "", b"", (("/q", 7),), (op.RENEW, "", b"", "w1", (("a", 1),), 1_000))
    yield bytes((2, 0, 0)) + encode_segment([guarded])
    yield bytes((2, 0, 0)) + encode_segment(operations)
    for kind in range(len(OPERATIONS)):
        yield bytes(
            (0, 2, 1, kind, *(1, 0, 1, 2, 0, 3, 1) * 6, 0, 0, kind, *(0, 4, 1, 0, 2, 1) * 5)
        )
