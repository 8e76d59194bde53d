"""The checks of histories: each is clean on a good history, and speaks when a promise was broken."""

from dataclasses import replace

from tests.simulation.checkers.tasks import (
    CHECKS,
    completed,
    done_once,
    in_order,
    leases,
    refused,
    serials,
    total_queue,
    versions,
)
from tests.simulation.history import DONE, REFUSED, UNKNOWN, Call, History

from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Claimed, Modified, Settled, TaskRow

MS = 1_000_000
ROW = TaskRow("a", 0, "/q", 100, b"v1|", 1, "", 0, 0, 0, "", 100, 100, 0)
HELD = ROW._replace(version=1, claimant="w", claims=1, at=1_100, modified=100)


def modify(*, deletes=()):
    return op.Modify(op.MODIFY, "", b"", "w", (), (), [op.Target(*item) for item in deletes], ())


def insert(row=ROW, tag="v1", began=1, index=2, status=DONE):
    outcome = Modified((row,), ()) if status == DONE else None
    return Call("p", "modify", began, modify(), (tag,), began + 1, status, index, outcome, "n1", 1)


def claim(row=HELD, began=10, index=4, client="w"):
    return Call(client, "claim", began, None, (), began + 1, DONE, index, Claimed((row,)), "n1", 1)


def delete(version=1, began=20, index=6, status=DONE):
    operation = modify(deletes=[("a", version)])
    outcome = Modified((), ()) if status == DONE else None
    return Call("w", "modify", began, operation, (), began + 1, status, index, outcome, "n1", 1)


def read(rows, began=30, index=8):
    return Call("r", "read", began, None, (), began + 1, DONE, index, rows, "n2", 1)


def found(check, *calls, left=(), **fields):
    history = History(list(calls), {row.id: row for row in left}, **fields)
    return [sentence.partition(":")[0] for sentence in check(history)]


def settle(began=20, index=6, status=DONE):
    outcome = Settled(HELD) if status == DONE else None
    call = Call("w", "settle", began, None, (), began + 1, status, index, outcome, "n1", 1)
    return replace(call, deletes=("a",))


def numbered(serial, id_="a", queue="/n"):
    return ROW._replace(id=id_, serial=serial, queue=queue)


def test_a_good_history_passes_every_check():
    calls = (insert(), claim(), delete(), read([]))
    assert [found(check, *calls) for check in CHECKS] == [[]] * len(CHECKS)


def test_an_acknowledged_task_that_is_gone_is_lost():
    assert found(total_queue, insert()) == ["lost"]
    assert found(total_queue, insert(), left=[ROW]) == []


def test_a_task_whose_deletion_is_not_known_may_be_gone():
    assert found(total_queue, insert(), delete(status=UNKNOWN)) == []


def test_a_task_that_nobody_inserted_is_unexpected():
    assert found(total_queue, left=[ROW]) == ["unexpected"]
    assert found(total_queue, insert(status=UNKNOWN), left=[ROW]) == []


def test_a_deleted_task_that_is_there_has_returned():
    assert found(total_queue, insert(), delete(), left=[HELD]) == ["returned"]


def test_what_was_refused_has_left_no_trace():
    assert found(refused, insert(status=REFUSED), left=[ROW]) == ["done after all"]
    assert found(refused, insert(status=UNKNOWN), left=[ROW]) == []


def test_one_insert_makes_one_task():
    assert found(done_once, insert(), left=[ROW, ROW._replace(id="b")]) == ["done twice"]


def test_a_repeated_key_has_the_same_answer_but_for_values():
    same, other = insert(), insert()
    same.repeats.append(Modified((ROW._replace(value=b""),), ()))
    other.repeats.append(Modified((ROW._replace(id="b"),), ()))
    assert found(done_once, same) == []
    assert found(done_once, other) == ["another answer"]


def test_a_repeated_claim_may_have_lost_tasks_but_has_no_new_ones():
    fewer, more = claim(), claim()
    fewer.repeats.append(Claimed(()))
    more.repeats.append(Claimed((HELD, HELD._replace(id="b"))))
    assert found(done_once, fewer) == []
    assert found(done_once, more) == ["another answer"]


def test_a_version_is_made_once():
    assert found(versions, claim(), claim(began=12, index=5, client="x")) == ["made twice"]


def test_a_version_never_changes_its_looks():
    assert found(versions, claim(), read([HELD._replace(at=5)])) == ["two faces"]


def test_a_number_is_of_one_task():
    first, second = insert(numbered(1)), insert(numbered(1, "b"), "v2", index=3)
    assert found(serials, first, second) == ["numbered twice"]
    assert found(serials, first, insert(numbered(1, "b", "/other"), "v2", index=3)) == []


def test_numbers_rise_with_the_log():
    first, second = insert(numbered(2)), insert(numbered(1, "b"), "v2", index=3)
    assert [word[:15] for word in found(serials, first, second)] == ["numbers of /n w"]
    assert found(serials, second, insert(numbered(2), index=4)) == []


def test_what_was_settled_is_gone_and_does_not_come_back():
    assert found(total_queue, insert(), settle()) == []
    assert found(total_queue, insert(), settle(status=UNKNOWN)) == []
    assert found(total_queue, insert(), settle(), left=[HELD]) == ["returned"]
    assert found(completed, settle(), read([HELD])) == ["returned"]


def test_versions_rise_with_the_log():
    assert found(versions, claim(index=8), read([ROW], index=9)) == ["went back"]
    assert found(versions, claim(index=8), read([ROW], index=7)) == []


def test_a_deleted_task_is_not_seen_in_a_later_entry():
    assert found(completed, delete(index=6), read([HELD], index=7)) == ["returned"]
    assert found(completed, delete(index=6), read([HELD], index=5)) == []


def test_two_holders_at_a_time_are_found_in_log_time():
    again = HELD._replace(version=2, claimant="x", modified=1_000)
    late = again._replace(modified=1_100)
    began = 3_000 * MS
    assert found(leases, claim(), claim(again, began, 9, "x")) == ["two holders"]
    assert found(leases, claim(), claim(late, began, 9, "x")) == []


def test_a_lease_that_was_too_short_in_real_time_is_found():
    long = HELD._replace(at=30_100)
    again = long._replace(version=2, claimant="x", modified=30_100)
    calls = claim(long, began=0), claim(again, began=10_000 * MS, index=9, client="x")
    assert found(leases, *calls) == ["two holders"]
    assert found(leases, *calls, clock_spread_ns=25_000 * MS) == []  # clocks were that far apart


def test_an_answer_reflects_what_was_answered_before_it_was_asked():
    assert found(in_order, insert(began=1, index=7), read([], began=5, index=6)) == ["stale"]
    assert found(in_order, insert(began=1, index=7), read([], began=2, index=6)) == []
    assert found(in_order, insert(began=1, index=7), read([], began=5, index=7)) == []


def test_calls_that_were_not_answered_are_judged_by_nothing():
    call = replace(claim(), status=UNKNOWN, outcome=None)
    assert [found(check, call) for check in CHECKS] == [[]] * len(CHECKS)
