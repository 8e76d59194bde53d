"""Shapes of an export's records: what the machine writes passes, anything else does not."""

from typing import Any

import pytest
from tests.support import moves
from tests.support.moves import cut
from tests.unit.core.test_importing import full

from raftq_cluster.codec.entries import decode_segment, encode_segment
from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.record_shapes import check_records, check_snapshot
from raftq_cluster.codec.shapes import check_segment
from raftq_cluster.core import operations as op
from raftq_cluster.core.snapshot import (
    DOC,
    DOC_SET,
    END,
    HEAD,
    IMPORT,
    KEY,
    QUEUE,
    READY,
    SETTING,
    WAITING,
)

ROW = ("x", 0, "/q", 1, b"", 0, "", 0, 0, 0, "", 1, 1, 0)
DOC_ROW = ("/ns", "d", 1, "k", "", "", 1, b"", 0, 1, 1)
SET_ROW = ("/ns", "k", 1, "", 1, 0)
PART = ("insert", 0, "x", "exists", -1, "", 0)


def key(name: str, outcome: Any, size_bytes: int = 1) -> tuple[Any, ...]:
    return (KEY, "k", b"m", 1, size_bytes, name, outcome)


GOOD = [
    (SETTING, "/q*", "fifo", None, 1, None, 1_000),
    (QUEUE, "/q", 1, False),
    (READY, 1, ROW),
    (WAITING, 2, ROW),
    (DOC_SET, "/ns", "k", 1, "", 1, 1),
    (DOC, "d", "", b"", 0, 1, 1),
    key("Done", ()),
    key("Claimed", ((ROW,),)),
    key("Modified", ((ROW,), ())),
    key("Renewed", ((ROW,), (("x", "missing"),))),
    key("Settled", (ROW,)),
    key("Refused", ("dependency", "", (PART, (*PART, "/ns", "k")), "", 0)),
    key("Transacted", ((ROW,), (ROW,), (DOC_ROW,), (DOC_ROW,), (SET_ROW,))),
    key("DocsClaimed", ((SET_ROW,), (DOC_ROW,))),
]


def test_what_a_state_is_cut_into_is_of_good_shape() -> None:
    for part in cut(full().machine).cut:
        check_records(part)


@pytest.mark.parametrize("record", GOOD, ids=str)
def test_each_kind_of_record_passes(record: Any) -> None:
    check_records([record])


@pytest.mark.parametrize("record", GOOD, ids=str)
def test_a_field_more_or_less_or_of_another_type_does_not(record: Any) -> None:
    wrong: list[Any] = [(*record, 1)]
    if record[0] != SETTING:
        wrong.append(record[:-1])
    wrong += [(*record[:place], 1.5, *record[place + 1 :]) for place in range(len(record))]
    wrong += [(*record[:place], {}, *record[place + 1 :]) for place in range(len(record))]
    for bad in wrong:
        with pytest.raises(CodecError):
            check_records([bad])


def test_settings_may_come_without_bounds_of_leases() -> None:
    check_records([(SETTING, "/q", None, None, 1), (SETTING, "/p", None, True, None, 5)])
    with pytest.raises(CodecError):
        check_records([(SETTING, "/q", None, None)])


@pytest.mark.parametrize(
    "record",
    [
        (),
        (0, 3, 1, 1, 1, 1),
        (99,),
        (READY, 0, ROW),
        (READY, 1, ("x", -1, *ROW[2:])),
        (READY, 1, (*ROW[:7], -1, *ROW[8:])),
        (READY, 1, (*ROW[:3], 2**60, *ROW[4:])),
        (QUEUE, "/q", 0, False),
        (SETTING, "/q", "odd", None, None),
        key("Done", (), -1),
        key("Done", (), 2**31),
        key("Nothing", ()),
        key("Refused", ("dependency", "", ((1,),), "", 0)),
        key("Settled", ROW),
    ],
    ids=str,
)
def test_what_the_machine_could_not_live_with_does_not_pass(record: Any) -> None:
    with pytest.raises(CodecError):
        check_records([record])


def test_steps_of_an_import_pass_as_segments() -> None:
    for step in cut(full().machine).steps():
        check_segment(decode_segment(encode_segment([step])))
    check_segment(decode_segment(encode_segment([moves.abandon()])))


@pytest.mark.parametrize(
    "operations",
    [
        [op.Import(op.IMPORT, "begin", "x"), op.Tick()],
        [op.Tick(), op.Import(op.IMPORT, "begin", "x")],
        [op.Import(op.IMPORT, "dance", "x")],
        [op.Import(op.IMPORT, "part", "x", -1)],
        [op.Import(op.IMPORT, "part", "x", 0, ((QUEUE, "/q", 0, False),))],
        [(op.IMPORT, "part", "x", 0, 1)],
    ],
    ids=str,
)
def test_steps_of_a_bad_shape_or_in_company_do_not(operations: list[Any]) -> None:
    with pytest.raises(CodecError):
        check_segment(decode_segment(encode_segment(operations)))


HEAD_3 = (HEAD, 3, 50, 1, 7, 2**64 - 1)


@pytest.mark.parametrize("record", [*GOOD, HEAD_3, (IMPORT, "f", 3, "", False), (END, 9)], ids=str)
def test_a_snapshot_has_these_and_a_head_an_import_and_an_end(record: Any) -> None:
    check_snapshot([HEAD_3, record])
    with pytest.raises(CodecError):
        check_snapshot([HEAD_3, (*record, 1)])
    with pytest.raises(CodecError):
        check_snapshot([HEAD_3, (*record[:-1], {})])


def test_a_snapshot_of_another_version_is_left_to_who_refuses_it() -> None:
    check_snapshot([(HEAD, 99, "anything"), (77,)])
    check_snapshot([])


@pytest.mark.parametrize(
    "record", [7, None, (), "", (HEAD,), (HEAD, 3), (77, 1), (HEAD, 3, 1, 1, 1, -1)], ids=str
)
def test_what_is_no_record_of_a_snapshot_is_refused(record: Any) -> None:
    with pytest.raises(CodecError):
        check_snapshot([record])
