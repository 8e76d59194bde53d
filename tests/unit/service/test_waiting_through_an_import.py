"""Long polls while a store is imported into: woken at its end, and by nothing before."""

import pytest
import pytest_asyncio
from tests.support import moves
from tests.support.moves import Cut, cut
from tests.support.task_table import TaskTable
from tests.support.waiting_node import WaitingNode

from raftq_cluster.core import operations as op
from raftq_cluster.core.importing import UNFINISHED

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def node():
    node = WaitingNode()
    await node.service.start()
    yield node
    await node.service.stop()


def some() -> Cut:
    table = TaskTable()
    table.insert("/a", "now")
    table.insert("/b", "later", arrival=op.DELAY, ms=1_000)
    return cut(table.machine)


async def test_a_waiting_claim_is_woken_by_the_end_of_an_import(node):
    state, waiter = some(), node.wait("/a")
    node.submit(moves.begin(state))
    for step in state.part_steps():
        node.submit(step)
    assert waiter.ids is None
    node.submit(moves.end(state))
    assert waiter.ids == ["now"]


async def test_what_arrives_meanwhile_is_found_after_the_end(node):
    state, waiter = some(), node.wait("/b")
    node.submit(moves.begin(state))
    for step in state.part_steps():
        node.submit(step)
    node.pass_ms(1_000)
    assert waiter.ids is None
    node.submit(moves.end(state))
    assert waiter.ids == ["later"]


async def test_a_claim_that_comes_meanwhile_is_refused_at_once(node):
    node.submit(moves.begin(some()))
    assert node.wait("/a").told == [UNFINISHED]
