"""How a long poll ends: out of time, given up, refused, stopped, or cancelled, and what becomes of its tasks."""

import asyncio

import pytest
import pytest_asyncio
from tests.support.task_table import claim, modify
from tests.support.waiting_node import LONG_MS, UNAVAILABLE, WaitingNode

from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Refused, Unfinished
from raftq_cluster.service.limits import Limits

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def node():
    node = WaitingNode()
    await node.service.start()
    yield node
    await node.service.stop()


# --- ends of a wait ------------------------------------------------------------------------------------


async def test_a_wait_that_runs_out_is_answered_empty(node):
    waiter = node.wait("/a", wait_ms=1)
    await asyncio.wait_for(waiter.ended.wait(), 10)
    assert (waiter.ids, node.service.waiting()) == ([], 0)


async def test_a_wait_that_runs_out_while_its_claim_is_under_way_gets_what_that_finds(node):
    waiter, later = node.wait("/a", wait_ms=1), node.wait("/b", wait_ms=2)
    node.backend.hold_outcomes = True
    node.insert("x")
    await asyncio.wait_for(later.ended.wait(), 10)
    assert waiter.ids is None
    node.backend.tell()
    assert waiter.ids == ["x"]


async def test_a_wait_that_was_given_up_is_told_nothing_and_takes_nothing(node):
    waiter, other = node.wait("/a"), node.wait("/a")
    waiter.give_up()
    assert node.service.waiting() == 1
    node.insert("x")
    assert (waiter.told, other.ids) == ([], ["x"])


async def test_what_was_claimed_for_a_wait_that_was_given_up_is_given_back_to_the_next(node):
    waiter = node.wait("/a", claimant="gone")
    other = node.wait("/a", claimant="w2")
    node.backend.hold_outcomes = True
    node.insert("x")
    waiter.give_up()
    assert await node.held_by("gone") == ["x"]
    node.backend.hold_outcomes = False
    node.backend.tell()
    assert (waiter.told, other.ids) == ([], ["x"])
    assert node.service.waiting() == 0


async def test_a_repeat_of_a_claim_that_was_given_back_claims_anew(node):
    """Its first answer would name tasks that its caller no longer holds."""
    node.backend.hold_outcomes = True
    gone = node.wait("/a", key="k")
    node.backend.tell()
    node.insert("x")
    gone.give_up()
    node.backend.hold_outcomes = False
    node.backend.tell()
    again = node.wait("/a", key="k")
    (outcome,) = again.told
    assert [(row.id, row.version) for row in outcome.tasks] == [("x", 3)]


async def test_nothing_is_given_back_for_a_wait_that_was_given_up_and_found_nothing(node):
    node.backend.hold_outcomes = True
    waiter = node.wait("/a")
    waiter.give_up()
    node.backend.tell()
    assert op.MODIFY not in node.backend.kinds()
    assert node.service.waiting() == 0


async def test_a_failed_claim_of_a_wait_that_was_given_up_is_nobodys_business(node):
    node.backend.hold_claims = True
    waiter = node.wait("/a")
    waiter.give_up()
    node.backend.fail(UNAVAILABLE)
    assert (waiter.told, node.service.waiting()) == ([], 0)


async def test_giving_up_twice_or_too_late_changes_nothing(node):
    node.insert("x")
    served = node.wait("/a", claimant="w2")
    served.give_up()
    served.give_up()
    waiting = node.wait("/a")
    assert node.service.waiting() == 1
    waiting.give_up()
    waiting.give_up()
    assert node.service.waiting() == 0
    assert await node.held_by("w2") == ["x"]


async def test_a_refused_claim_ends_the_wait_with_its_refusal(node):
    node.submit(modify(inserts=[op.Insert("/b", "y")], key="k"))
    waiter = node.wait("/a", key="k", mark=b"other")
    (refused,) = waiter.told
    assert isinstance(refused, Refused)
    assert refused.code == "idempotency_key_reused"
    assert node.service.waiting() == 0


async def test_stopping_answers_every_wait(node):
    waiters = [node.wait("/a"), node.wait("/a", "/b")]
    node.backend.hold_outcomes = True
    under_way = node.wait("/c")
    node.service.drain()
    assert [waiter.ids for waiter in waiters] == [[], []]
    assert under_way.told == []
    node.backend.tell()
    assert under_way.ids == []
    assert node.service.waiting() == 0


async def test_a_stopping_node_takes_no_more_waits(node):
    node.service.drain()
    (outcome,) = node.wait("/a").told
    assert isinstance(outcome, Unfinished)
    assert outcome.code == "unavailable"


async def test_waiters_have_a_limit_and_those_beyond_it_are_told_its_name():
    node = WaitingNode(Limits(waiters_max=2))
    waiters = [node.wait("/a") for _ in range(3)]
    (refused,) = waiters[2].told
    assert isinstance(refused, Refused)
    assert (refused.code, refused.limit_name, refused.limit) == ("too_busy", "waiters_max", 2)
    waiters[0].give_up()
    assert node.wait("/a").told == []
    await node.service.stop()


# --- those who can await --------------------------------------------------------------------------------


async def test_an_awaited_claim_gets_its_tasks(node):
    task = asyncio.ensure_future(node.service.wait_claim(claim("/a"), LONG_MS))
    await asyncio.sleep(0)
    node.insert("x")
    index, outcome = await task
    assert index > 0
    assert [row.id for row in outcome.tasks] == ["x"]


async def test_cancelling_an_awaited_claim_gives_it_up(node):
    task = asyncio.ensure_future(node.service.wait_claim(claim("/a", claimant="gone"), LONG_MS))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert node.service.waiting() == 0
    node.insert("x")
    assert await node.held_by("gone") == []


@pytest.mark.parametrize("answer_first", [True, False])
async def test_cancelling_an_awaited_claim_in_the_moment_of_its_answer_gives_the_tasks_back(
    node, answer_first
):
    task = asyncio.ensure_future(node.service.wait_claim(claim("/a", claimant="gone"), LONG_MS))
    await asyncio.sleep(0)
    if answer_first:
        node.insert("x")
    task.cancel()
    if not answer_first:
        node.insert("x")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await node.held_by("gone") == []
    assert node.wait("/a").ids == ["x"]
    assert node.service.waiting() == 0
