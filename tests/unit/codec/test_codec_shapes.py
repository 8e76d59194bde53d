"""What another node forwards is refused, or the machine can apply it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.doc_table import claim_docs, doc, held, transact

from raftq_cluster.codec.entries import decode_segment, encode_segment, split_entry
from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.shapes import NUMBER_MAX, check_segment
from raftq_cluster.core import operations as op
from raftq_cluster.core.machine import Machine

NAMES = st.sampled_from(["", "/q", "/r", "é", "/q*", "\x00"])
NUMBERS = st.one_of(st.integers(-3, 5), st.integers(-(2**63), 2**64 - 1))
SCALARS = st.one_of(NAMES, NUMBERS, st.binary(max_size=3), st.booleans(), st.none())
ROWS = st.lists(st.one_of(
    st.tuples(NAMES, NAMES, st.integers(-1, 6), NUMBERS, st.binary(max_size=3),
              st.integers(-1, 3), NUMBERS, NUMBERS, NAMES, st.booleans()),
    st.tuples(NAMES, NUMBERS, st.one_of(st.none(), NAMES), st.integers(-1, 6), NUMBERS,
              st.one_of(st.none(), st.binary(max_size=3)), st.integers(-1, 3),
              st.one_of(st.none(), NUMBERS), st.one_of(st.none(), NUMBERS),
              st.one_of(st.none(), NAMES)),
    st.tuples(NAMES, NUMBERS), SCALARS,
), max_size=3).map(tuple)  # fmt: skip
_ARRIVALS = st.integers(-1, 6)
DOC_PARTS = st.tuples(*[st.lists(st.one_of(part, ROWS), max_size=2).map(tuple) for part in (
    st.tuples(NAMES, NAMES, NAMES, NAMES, _ARRIVALS, NUMBERS, st.binary(max_size=3), st.integers(0, 2)),
    st.tuples(NAMES, NAMES, NUMBERS, _ARRIVALS, NUMBERS, st.none(), st.integers(0, 1)),
    st.tuples(NAMES, NAMES, NUMBERS, NAMES),
    st.tuples(NAMES, NAMES, NUMBERS, NAMES),
    st.tuples(NAMES, NAMES, NUMBERS, _ARRIVALS, NUMBERS),
)])  # fmt: skip
ANYTHING = st.recursive(
    st.one_of(SCALARS, st.floats()),
    lambda inner: st.one_of(st.lists(inner, max_size=9).map(tuple),
                            st.dictionaries(st.text(max_size=2), inner, max_size=2)),
    max_leaves=20,
)  # fmt: skip
OPERATIONS = st.one_of(
    st.lists(ANYTHING, max_size=9).map(tuple),
    st.tuples(st.just(op.MODIFY), NAMES, st.binary(max_size=2), NAMES, ANYTHING, ROWS, ROWS, ROWS),
    st.lists(st.one_of(SCALARS, ROWS), max_size=9).map(tuple),
    st.tuples(st.just(op.CLAIM), NAMES, st.binary(max_size=2), NAMES,
              st.lists(NAMES, max_size=3).map(tuple), NUMBERS, NUMBERS, st.booleans()),
    st.tuples(st.just(op.MODIFY), NAMES, st.binary(max_size=2), NAMES, ROWS, ROWS, ROWS, ROWS),
    st.tuples(st.just(op.RENEW), NAMES, st.binary(max_size=2), NAMES, ROWS, NUMBERS),
    st.tuples(st.just(op.SETTLE), NAMES, st.binary(max_size=2),
              st.sampled_from(["ack", "touch", "nack", "x"]), NAMES, NUMBERS, NUMBERS),
    st.tuples(st.just(op.CONFIGURE), NAMES, st.binary(max_size=2), NAMES,
              st.sampled_from([None, "fifo", "random", "priority", "x"]),
              st.sampled_from([None, True, False]), st.one_of(st.none(), NUMBERS)),
    st.tuples(st.just(op.CONFIGURE_BOUNDED), NAMES, st.binary(max_size=2), NAMES,
              st.sampled_from([None, "fifo", "x"]), st.sampled_from([None, True, False]),
              *[st.one_of(st.none(), NUMBERS)] * 3),
    st.tuples(st.just(op.COLLECT), NAMES, NUMBERS),
    st.tuples(st.just(op.COLLECT_DOCS), NAMES, NAMES, st.lists(SCALARS, max_size=2).map(tuple)),
    st.tuples(st.just(op.TRANSACT), NAMES, st.binary(max_size=2), NAMES, ROWS, ROWS, ROWS, ROWS,
              st.lists(st.tuples(NAMES, NAMES), max_size=2).map(tuple),
              st.lists(NAMES, max_size=2).map(tuple), DOC_PARTS),
    st.tuples(st.just(op.CLAIM_DOCS), NAMES, st.binary(max_size=2), NAMES,
              st.lists(st.tuples(NAMES, NAMES, st.booleans()), max_size=2).map(tuple), NUMBERS,
              st.tuples(NAMES, NUMBERS, NAMES)),
    st.tuples(st.just(op.FORGET), st.lists(SCALARS, max_size=3).map(tuple)),
    SCALARS,
)  # fmt: skip
GOOD = [
    op.Claim(op.CLAIM, "k", b"m", "w", ("/q",), 1, 1, False),
    op.Modify(op.MODIFY, "", b"", "w", (op.Insert("/q", "a"),), (op.Change("a", 1),),
              (op.Target("a", 1),), (op.Target("b", 1),)),
    op.Renew(op.RENEW, "", b"", "w", (op.Target("a", 1),), 5),
    op.Settle(op.SETTLE, "", b"", op.ACK, "/q", 1, 0),
    op.Configure(op.CONFIGURE, "", b"", "/q", None, None, None),
    op.Configure(op.CONFIGURE, "", b"", "/q", "fifo", True, 7),
    op.ConfigureBounded(op.CONFIGURE_BOUNDED, "", b"", "/q", "fifo", True, 7, None, 9),
    op.Collect(op.COLLECT, "/q", 5),
    op.CollectDocs(op.COLLECT_DOCS, "/ns", "k", ("a",)),
    op.Tick(),
    op.Forget(op.FORGET, ("a", "b")),
    transact(doc_inserts=[doc("d")], doc_changes=[op.DocChange("/ns", "d", 1)], resets=["a"],
             doc_deletes=[op.DocTarget("/ns", "e", 0)], queues=[("a", "/q")],
             doc_depends=[op.DocTarget("/ns", "", 0, "k")], doc_leases=[op.SetLease("/ns", "k", 0)]),
    claim_docs(held("k"), task=("a", 1, "/q")),
    op.Guarded(op.GUARD, "", b"", (("/a", 1),), transact()),
    op.Guarded(op.GUARD, "", b"", (("/a", 1),), claim_docs(held("k"))),
    op.Verify(),
]  # fmt: skip


@pytest.mark.parametrize("operation", GOOD, ids=lambda operation: type(operation).__name__)
def test_every_kind_of_operation_passes(operation):
    check_segment(decode_segment(encode_segment([operation])))


@pytest.mark.parametrize(
    "bad",
    [
        7, (), ("1",), (99,), (op.TICK, 1), (op.VERIFY, 1), (op.FORGET, (1,)), (op.CLAIM, "", b"", "", (1,), 1, 1, False),
        (op.CLAIM, "", b"", "", ("/q",), NUMBER_MAX + 1, 1, False),
        (op.MODIFY, "", b"", "", (("/q", "a"),), (), (), ()),
        (op.MODIFY, "", b"", "", (("/q", "a", 9, 0, b"", 0, 0, 0, "", False),), (), (), ()),
        (op.MODIFY, "", b"", "", (7,), (), (), ()),
        (op.CONFIGURE, "", b"", "/q", None, None, 0),
        (op.CONFIGURE, "", b"", "/q", "sideways", None, None),
        (op.CONFIGURE_BOUNDED, "", b"", "/q", None, None, None), (op.COLLECT, "/q"), (op.COLLECT, "/q", -1), (op.COLLECT_DOCS, "/ns", 1, 2),
        (op.RENEW, "", b"", "", (("a", -NUMBER_MAX - 1),), 1),
        (op.MODIFY, "", b"", "", (("/q", "a", 0, 0, "aGk=", 0, 0, 0, "", False),), (), (), ()),
        (op.CLAIM, "", "", "", ("/q",), 1, 1, False),
        (op.CLAIM, "", b"", "", "/q", 1, 1, False),
        (op.CLAIM, "", b"", "", ("/q",), 1.0, 1, False),
        (op.CLAIM, "", b"", "", ("/q",), True, 1, False),
        (op.CLAIM, "", b"", "", ("/q",), 1, 1, 0),
        (op.SETTLE, "", b"", op.ACK, "/q", 1, 0, 0),
        (float(op.TICK),), (True, "", b"", "", ("/q",), 1, 1, False), {op.TICK: 0},
    ],
)  # fmt: skip
def test_what_has_not_the_shape_of_an_operation_is_refused(bad):
    with pytest.raises(CodecError):
        check_segment([bad])


@settings(max_examples=400, deadline=None)
@given(st.lists(OPERATIONS, max_size=4))
def test_what_passes_can_be_applied(operations):
    try:
        check_segment(operations)
    except CodecError:
        return
    machine = Machine()
    seeded = op.Modify(op.MODIFY, "", b"", "", (op.Insert("/q", "/r", serial=True),), (), (), ())
    machine.apply(1, 1_000, 1, [[seeded]])
    claim = op.Claim(op.CLAIM, "", b"", "", ("/q",), 1_000, 1, True)
    machine.apply(2, 2_000, 2, [operations, [claim], operations])
    machine.apply(3, 10**13, 3, [operations])
    assert encode_segment([tuple(machine.tasks)])


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\x94\x63\x00\x00\x90",
                                  b"\x94\x01\xa1x\x00\x90"])  # fmt: skip
def test_bytes_that_are_no_entry_are_not_split(data):
    with pytest.raises(CodecError):
        split_entry(data)
