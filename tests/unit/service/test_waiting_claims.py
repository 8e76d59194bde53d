"""Long polls: woken by arrivals, in the order of coming, by no more than arrived, and never missed."""

import asyncio

import pytest
import pytest_asyncio
from tests.support.task_table import claim, configure, modify
from tests.support.waiting_node import LONG_MS, UNAVAILABLE, WaitingNode

from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Refused

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def node():
    node = WaitingNode()
    await node.service.start()
    yield node
    await node.service.stop()


# --- waking -----------------------------------------------------------------------------------------


async def test_a_claim_that_finds_a_task_does_not_wait(node):
    node.insert("x")
    assert node.wait("/a").ids == ["x"]
    assert node.service.waiting() == 0


async def test_a_waiting_claim_is_woken_by_an_insert(node):
    waiter = node.wait("/a")
    assert (waiter.ids, node.service.waiting()) == (None, 1)
    node.insert("x")
    assert (waiter.ids, node.service.waiting()) == (["x"], 0)


@pytest.mark.parametrize("queue", ["/a", "/b"])
async def test_a_claim_waits_on_all_of_its_queues(node, queue):
    waiter = node.wait("/a", "/b")
    node.insert("y", queue="/c")
    assert waiter.ids is None
    node.insert("x", queue=queue)
    assert waiter.ids == ["x"]


async def test_a_waiting_claim_is_woken_by_a_move_a_release_and_a_queue_that_goes_on(node):
    node.insert("x", queue="/c")
    first = node.wait("/a")
    node.submit(modify(changes=[op.Change("x", 0, "/a")]))
    assert first.ids == ["x"]
    second = node.wait("/a")
    node.submit(modify(changes=[op.Change("x", 2, None, op.DELAY)]))
    assert second.ids == ["x"]
    node.submit(configure("/a", paused=True), modify(changes=[op.Change("x", 4, None, op.DELAY)]))
    third = node.wait("/a")
    assert third.ids is None
    node.submit(configure("/a"))
    assert third.ids == ["x"]


async def test_waiters_are_served_in_the_order_of_their_coming(node):
    waiters = [node.wait("/a") for _ in range(4)]
    node.insert("x1")
    node.insert("x2", "x3")
    assert [waiter.ids is None for waiter in waiters] == [False, False, False, True]
    node.insert("x4")
    assert waiters[3].ids == ["x4"]


async def test_a_woken_waiter_that_found_nothing_keeps_its_place(node):
    first, second = node.wait("/a"), node.wait("/a")
    node.backend.hold_claims = True
    node.insert("x1")
    node.submit(modify(deletes=[op.Target("x1", 0)]))  # somebody else is quicker
    node.backend.hold_claims = False
    node.backend.apply()
    assert (first.ids, second.ids) == (None, None)
    node.insert("x2")
    assert (first.ids, second.ids) == (["x2"], None)


async def test_so_many_tasks_wake_so_many_waiters_and_no_more(node):
    waiters = [node.wait("/a") for _ in range(50)]
    asked = len(node.backend.claims())
    node.insert("x1", "x2", "x3")
    assert len(node.backend.claims()) - asked == 3
    assert sum(waiter.ids is not None for waiter in waiters) == 3


async def test_a_waiter_of_two_queues_is_woken_once_by_an_entry_that_fills_both(node):
    both, other = node.wait("/a", "/b"), node.wait("/b")
    asked = len(node.backend.claims())
    node.submit(modify(inserts=[op.Insert("/a", "a"), op.Insert("/b", "b")]))
    assert len(node.backend.claims()) - asked == 2
    assert sorted([*both.ids, *other.ids]) == ["a", "b"]


async def test_one_arrival_wakes_one_waiter_for_all_it_can_take(node):
    greedy, modest = node.wait("/a", limit=10), node.wait("/a")
    node.insert("x1", "x2", "x3")
    assert sorted(greedy.ids) == ["x1", "x2", "x3"]
    assert modest.ids is None


async def test_nobody_is_woken_by_arrivals_elsewhere(node):
    waiter = node.wait("/a")
    asked = len(node.backend.claims())
    node.insert("x", queue="/b")
    node.insert("y", delay_ms=5_000)
    assert (len(node.backend.claims()), waiter.ids) == (asked, None)


# --- wakes that could be missed ----------------------------------------------------------------------


async def test_an_arrival_while_a_claim_is_under_way_is_not_missed(node):
    node.backend.hold_outcomes = True
    waiter = node.wait("/a")
    node.backend.hold_outcomes = False
    node.insert("x")
    assert waiter.ids is None
    node.backend.tell()  # it found nothing; the task came after that
    assert waiter.ids == ["x"]


async def test_a_claim_under_way_without_an_arrival_is_not_repeated(node):
    node.backend.hold_outcomes = True
    waiter = node.wait("/a")
    node.insert("x", queue="/b")
    node.backend.tell()
    assert waiter.ids is None
    assert len(node.backend.claims()) == 1


@pytest.mark.parametrize("seed", range(8))
async def test_a_waiter_that_took_from_another_queue_passes_its_wake_on(seed):
    """Woken for one queue, it may take from the other: somebody else must come for the first."""
    node = WaitingNode(seed=seed)
    await node.service.start()
    both, one = node.wait("/a", "/b"), node.wait("/a")
    node.backend.hold_claims = True
    node.insert("a")  # wakes the first waiter
    node.insert("b", queue="/b")  # finds nobody else to wake
    node.backend.hold_claims = False
    node.backend.apply()
    assert (both.ids, one.ids) in [(["a"], None), (["b"], ["a"])]
    await node.service.stop()


async def test_a_waiter_whose_claim_failed_leaves_its_wake_to_another(node):
    first, second = node.wait("/a"), node.wait("/a")
    node.backend.hold_claims = True
    node.insert("x")
    node.backend.hold_claims = False
    node.backend.fail(UNAVAILABLE)
    assert first.told == [UNAVAILABLE]
    await asyncio.wait_for(second.ended.wait(), 10)
    assert second.ids == ["x"]


async def test_a_waiter_whose_claim_was_refused_leaves_its_wake_to_another(node):
    first, second = node.wait("/a", key="k", mark=b"one"), node.wait("/a")
    node.backend.hold_claims = True
    node.insert("x")
    node.submit(modify(depends=[op.Target("x", 0)], key="k"))
    node.backend.hold_claims = False
    node.backend.apply()
    assert isinstance(first.told[0], Refused)
    assert second.ids == ["x"]


async def test_a_waiter_that_was_given_up_while_it_took_from_another_queue_passes_its_wake_on(node):
    both, one = node.wait("/a", "/b"), node.wait("/a")
    node.backend.hold_claims = True
    node.insert("a")
    both.give_up()
    node.backend.hold_claims = False
    node.backend.apply()
    assert (both.told, one.ids) == ([], ["a"])


# --- keys that are remembered -------------------------------------------------------------------------


async def test_a_wait_under_a_key_whose_tasks_are_gone_ends_at_once(node):
    node.insert("x")
    node.submit(claim("/a", key="k"), modify(deletes=[op.Target("x", 1)]))
    waiter = node.wait("/a", key="k")
    assert (waiter.ids, node.service.waiting()) == ([], 0)
    node.insert("y")
    assert node.wait("/a", key="other").ids == ["y"]


async def test_a_wait_under_a_key_whose_tasks_are_still_held_ends_with_them(node):
    node.insert("x", "y")
    first = node.wait("/a", key="k").ids
    assert node.wait("/a", key="k").ids == first


@pytest.mark.parametrize("is_gone", [True, False])
async def test_a_waiter_whose_key_was_used_meanwhile_leaves_its_wake_to_another(node, is_gone):
    """Another copy of its request was done: it takes nothing of what woke it."""
    before, first, second = node.wait("/a"), node.wait("/a", key="k"), node.wait("/a")
    node.backend.hold_claims = True
    node.insert("x")
    node.backend.hold_claims = False
    node.submit(claim("/a", key="k"))
    if is_gone:
        node.submit(modify(deletes=[op.Target("x", 1)]))
    node.backend.apply()
    before.give_up()
    node.insert("y")
    assert first.ids == ([] if is_gone else ["x"])
    assert second.ids == ["y"]


# --- arrivals by time ---------------------------------------------------------------------------------


async def test_a_delayed_task_wakes_its_waiter_on_time(node):
    node.insert("x", delay_ms=5_000)
    waiter = node.wait("/a")
    node.pass_ms(4_999)
    assert waiter.ids is None
    node.pass_ms(1)
    assert waiter.ids == ["x"]


async def test_looking_too_early_logs_nothing_and_misses_nothing(node):
    node.insert("x", delay_ms=5)
    node.submit(op.Tick())
    waiter = node.wait("/a")
    ticks = node.backend.kinds().count(op.TICK)
    node.pass_ms(4)
    assert (node.backend.kinds().count(op.TICK), waiter.ids) == (ticks, None)
    node.pass_ms(1)
    assert waiter.ids == ["x"]


async def test_an_expired_lease_wakes_a_waiter_on_time(node):
    node.insert("x")
    node.submit(claim("/a", lease_ms=60_000))
    waiter = node.wait("/a", claimant="w2")
    node.pass_ms(59_999)
    assert waiter.ids is None
    node.pass_ms(1)
    assert waiter.ids == ["x"]


async def test_a_task_that_is_due_sooner_than_all_others_is_waited_for(node):
    node.insert("late", delay_ms=900_000)
    waiter = node.wait("/a")
    node.insert("soon", delay_ms=2_000)
    node.pass_ms(2_000)
    assert waiter.ids == ["soon"]


async def test_time_is_logged_only_while_somebody_waits(node):
    node.insert("x", delay_ms=1_000)
    node.pass_ms(5_000)
    assert op.TICK not in node.backend.kinds()
    assert node.wait("/a").ids == ["x"]


async def test_a_task_due_in_a_queue_that_nobody_waits_for_wakes_nobody(node):
    node.insert("x", queue="/b", delay_ms=1_000)
    waiter = node.wait("/a")
    asked = len(node.backend.claims())
    node.pass_ms(1_000)
    assert (waiter.ids, len(node.backend.claims())) == (None, asked)


async def test_a_delayed_task_wakes_its_waiter_without_anybodys_help(node):
    """The event loop's own timer, once; all else about time is checked by hand."""
    node.insert("x", delay_ms=20)
    node.backend.clock_ms += 19
    node.submit(op.Tick())
    waiter = node.wait("/a")
    node.backend.clock_ms += 1
    await asyncio.wait_for(waiter.ended.wait(), 10)
    assert waiter.ids == ["x"]


async def test_a_tick_that_cannot_be_logged_is_not_tried_again_at_once(node):
    """Without a leader nothing arrives; asking again in a loop would take all the time there is."""
    node.insert("x", delay_ms=1_000)
    waiter = node.wait("/a")
    node.backend.failure = UNAVAILABLE
    node.pass_ms(1_000)
    for _ in range(50):
        await asyncio.sleep(0)
    assert node.backend.kinds().count(op.TICK) == 1
    node.backend.failure = None
    await asyncio.wait_for(waiter.ended.wait(), 10)
    assert waiter.ids == ["x"]


async def test_an_arrival_that_came_due_while_a_tick_was_under_way_is_not_late(node):
    node.insert("x1", delay_ms=1_000)
    node.insert("x2", delay_ms=1_001)
    waiters = [node.wait("/a"), node.wait("/a")]
    node.backend.hold_outcomes = True
    node.pass_ms(1_000)
    node.backend.clock_ms += 5
    node.backend.hold_outcomes = False
    node.backend.tell()
    for _ in range(5):
        await asyncio.sleep(0)
    assert sorted(waiters[0].ids + waiters[1].ids) == ["x1", "x2"]


async def test_one_tick_is_under_way_at_a_time(node):
    node.insert("x", delay_ms=1_000)
    waiter = node.wait("/a")
    node.backend.hold_everything = True
    node.pass_ms(1_000)
    for _ in range(20):
        node.wait("/b", wait_ms=LONG_MS)
        node.service.check_due()
        await asyncio.sleep(0)
    assert node.backend.kinds().count(op.TICK) == 1
    node.backend.hold_everything = False
    node.backend.apply()
    assert waiter.ids == ["x"]
