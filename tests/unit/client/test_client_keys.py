"""Keys, retries, waits and misuse, as the client sees them over nodes that follow a script."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from tests.support.scripted_node import (
    Call,
    HangUp,
    ScriptedNode,
    reply_fail,
    reply_ok,
    scripted,
    task_document,
    well_behaved,
)

import raftq
import raftq.testing
from raftq import AsyncClient
from raftq.caller import WAIT_PIECE_MS
from raftq.spent_keys import BATCH_KEYS, KEYS_MAX, SpentKeys


@pytest_asyncio.fixture
async def nodes() -> AsyncIterator[list[ScriptedNode]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(scripted()) for _ in range(2)]


@pytest_asyncio.fixture
async def client(nodes: list[ScriptedNode]) -> AsyncIterator[AsyncClient]:
    async with AsyncClient([node.url for node in nodes], claimant="me") as client:
        yield client


def hang_up(_: Call) -> bytes:
    raise HangUp


def once(first: Callable[[Call], bytes | None]) -> Callable[[Call], bytes | None]:
    """Follow a script for the first call, and behave after it."""
    scripts = [first]

    def follow(call: Call) -> bytes | None:
        return (scripts.pop() if scripts else well_behaved)(call)

    return follow


def keys(node: ScriptedNode) -> list[str]:
    return [call.document.get("idempotency_key", "") for call in node.calls]


@pytest.mark.asyncio
async def test_every_change_has_a_key_of_its_own_and_questions_have_none(client, nodes):
    await client.put("q")
    await client.claim("q")
    await client.renew([raftq.Target("t1", 1)])
    await client.configure("q", paused=True)
    await client.time()
    found = keys(nodes[0])
    assert len(set(found[:4])) == 4
    assert all(found[:4])
    assert found[4] == ""


@pytest.mark.asyncio
async def test_two_clients_never_use_the_same_key(nodes):
    found: list[str] = []
    for _ in range(2):
        async with AsyncClient(nodes[0].url) as client:
            await client.put("q")
    found = keys(nodes[0])
    assert len(set(found)) == 2


@pytest.mark.asyncio
async def test_a_call_whose_answer_was_lost_is_repeated_elsewhere_with_its_key(client, nodes):
    nodes[0].script = hang_up
    assert (await client.put("q", 1)).value == 1
    assert [call.body for call in nodes[1].calls] == [call.body for call in nodes[0].calls]
    assert keys(nodes[1]) == keys(nodes[0]) != [""]


@pytest.mark.asyncio
async def test_a_node_without_a_leader_is_left_for_one_that_has(client, nodes):
    nodes[0].script = lambda call: reply_fail(call, "unavailable")
    await client.put("q")
    await client.put("q")
    assert (len(nodes[0].calls), len(nodes[1].calls)) == (1, 2)


@pytest.mark.asyncio
async def test_an_unknown_outcome_gives_the_key_and_the_key_can_be_used_again(nodes):
    nodes[0].script = hang_up
    async with AsyncClient(nodes[0].url, timeout_s=0.05, claimant="me") as client:
        with pytest.raises(raftq.OutcomeUnknown) as unknown:
            await client.put("q", 1)
    nodes[0].script = well_behaved
    async with AsyncClient(nodes[0].url, claimant="me") as client:
        await client.put("q", 1, idempotency_key=unknown.value.idempotency_key)
    assert len({call.body for call in nodes[0].calls}) == 1


@pytest.mark.asyncio
async def test_a_long_wait_is_asked_for_in_pieces_under_one_key(client, nodes):
    answers = [{"tasks": []}, {"tasks": [task_document(version=1)]}]
    nodes[0].script = lambda call: reply_ok(call, answers.pop(0))
    (task,) = await client.claim("q", wait_ms=5 * WAIT_PIECE_MS)
    assert task.id == "t1"
    assert [call.document["wait_ms"] for call in nodes[0].calls] == [WAIT_PIECE_MS] * 2
    assert len(set(keys(nodes[0]))) == 1


@pytest.mark.asyncio
async def test_a_wait_goes_on_under_another_key_when_what_its_own_got_is_gone(client, nodes):
    """The answer was lost, the lease ended, others did the task; the retry hears that."""
    answers = [{"tasks": [], "gone": True}, {"tasks": [task_document(version=1)]}]
    nodes[0].script = lambda call: reply_ok(call, answers.pop(0))
    (task,) = await client.claim("q", wait_ms=WAIT_PIECE_MS)
    assert task.id == "t1"
    assert len(set(keys(nodes[0]))) == 2


@pytest.mark.asyncio
async def test_a_wait_under_a_key_of_the_callers_own_ends_when_what_it_got_is_gone(client, nodes):
    nodes[0].script = lambda call: reply_ok(call, {"tasks": [], "gone": True})
    assert await client.claim("q", wait_ms=WAIT_PIECE_MS, idempotency_key="mine") == []
    assert keys(nodes[0]) == ["mine"]


@pytest.mark.asyncio
async def test_a_short_wait_is_one_request(client, nodes):
    nodes[0].script = lambda call: reply_ok(call, {"tasks": []})
    clock = raftq.testing.ManualClock()
    async with AsyncClient(nodes[0].url, clock=clock) as patient:
        waiting = asyncio.create_task(patient.claim("q", wait_ms=500))
        await nodes[0].called.wait()
        clock.jump(500)
        assert await waiting == []
    assert [call.document["wait_ms"] for call in nodes[0].calls] == [500]


# --- keys that may be forgotten ------------------------------------------------------------------


@pytest.mark.asyncio
async def test_answered_keys_are_forgotten_in_batches(client, nodes):
    for _ in range(BATCH_KEYS):
        await client.put("q")
    used = keys(nodes[0])[:BATCH_KEYS]
    async with asyncio.timeout(5):
        while nodes[0].calls[-1].verb != "forget":
            await client.time()
    forgotten = [call for call in nodes[0].calls if call.verb == "forget"]
    assert [call.document["keys"] for call in forgotten] == [used]


@pytest.mark.asyncio
async def test_a_key_that_was_sent_twice_is_never_forgotten(client, nodes):
    nodes[0].script = once(hang_up)
    await client.put("q")
    doubtful = keys(nodes[0])[0]
    for _ in range(BATCH_KEYS):
        await client.put("q")
    async with asyncio.timeout(5):
        while not (forgotten := [call for call in nodes[1].calls if call.verb == "forget"]):
            await client.time()
    assert doubtful not in forgotten[0].document["keys"]


@pytest.mark.asyncio
async def test_a_key_of_a_wait_is_doubtful_if_any_of_its_pieces_was(nodes):
    clock = raftq.testing.ManualClock()
    empty: list[Call] = []

    def hang_up_then_nothing(call: Call) -> bytes | None:
        empty.append(call)
        if len(empty) == 1:
            raise HangUp
        return well_behaved(call) if len(empty) > 2 else reply_ok(call, {"tasks": []})

    nodes[0].script = hang_up_then_nothing
    async with AsyncClient(nodes[0].url, clock=clock) as client:
        assert await client.claim("q", wait_ms=2 * WAIT_PIECE_MS)
        for _ in range(BATCH_KEYS):
            await client.put("q")
        async with asyncio.timeout(5):
            while not (told := [call for call in nodes[0].calls if call.verb == "forget"]):
                await client.time()
    assert keys(nodes[0])[0] not in told[0].document["keys"]


@pytest.mark.asyncio
async def test_keys_of_the_callers_own_and_of_empty_claims_are_left_alone(client, nodes):
    nodes[0].script = lambda call: (
        reply_ok(call, {"tasks": []}) if call.verb == "claim" else well_behaved(call)
    )
    for number in range(BATCH_KEYS):
        await client.claim("q")
        await client.put("q", idempotency_key=f"mine.{number}")
    assert {call.verb for call in nodes[0].calls} == {"claim", "modify"}


@pytest.mark.asyncio
async def test_a_failure_to_forget_is_of_no_consequence():
    told: list[list[str]] = []

    async def forget(batch: list[str]) -> None:
        told.append(batch)
        raise raftq.Unavailable

    spent = SpentKeys(forget)
    for number in range(2 * BATCH_KEYS):
        spent.add(str(number))
        await asyncio.sleep(0)
    await spent.close()
    assert [len(batch) for batch in told] == [BATCH_KEYS, BATCH_KEYS]


@pytest.mark.asyncio
async def test_keys_are_not_collected_without_bound():
    never = asyncio.Event()
    told: list[list[str]] = []

    async def forget(batch: list[str]) -> None:
        told.append(batch)
        await never.wait()

    spent = SpentKeys(forget)
    for number in range(KEYS_MAX + 10_000):
        spent.add(str(number))
        if number == BATCH_KEYS:
            await asyncio.sleep(0)
    never.set()
    while sum(map(len, told)) < KEYS_MAX:
        await asyncio.sleep(0)
    await spent.close()
    assert sum(map(len, told)) == KEYS_MAX + BATCH_KEYS


# --- misuse --------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_closed_client_refuses_calls_and_closes_again(client):
    await client.time()
    await client.close()
    await client.close()
    with pytest.raises(raftq.MisuseError, match="closed"):
        await client.time()


@pytest.mark.asyncio
async def test_closing_ends_what_waits(client, nodes):
    nodes[0].script = lambda call: None
    waiting = asyncio.create_task(client.claim("q", wait_ms=60_000))
    asking = asyncio.create_task(client.time())
    await nodes[0].called.wait()
    await client.close()
    for call in (waiting, asking):
        with pytest.raises(raftq.RaftqError):
            await call


def test_a_client_belongs_to_one_event_loop():
    client = raftq.testing.MemoryQueue().async_client()

    async def ask() -> None:
        await client.time()

    asyncio.run(ask())
    with pytest.raises(raftq.MisuseError, match="event loop"):
        asyncio.run(ask())


@pytest.mark.asyncio
async def test_a_value_over_the_clients_limit_is_refused_before_anything_is_sent(nodes):
    async with AsyncClient(nodes[0].url, value_bytes_max=3) as client:
        with pytest.raises(raftq.TooLarge):
            await client.put("q", "long")
    assert nodes[0].calls == []


@pytest.mark.asyncio
async def test_a_claimant_is_made_up_where_none_is_given():
    names = {AsyncClient().claimant for _ in range(3)}
    assert len(names) == 3
    assert all(name.isprintable() and " " not in name and len(name) <= 64 for name in names)
    assert AsyncClient(claimant="me").claimant == "me"


# --- answers that are none -----------------------------------------------------------------------


@pytest.mark.parametrize("inserted", [0, 2])
@pytest.mark.asyncio
async def test_an_answer_to_another_modification_leaves_a_doubt(client, nodes, inserted):
    answer = {"inserted": [task_document()] * inserted, "changed": []}
    nodes[0].script = once(lambda call: reply_ok(call, answer))
    with pytest.raises(raftq.OutcomeUnknown, match="not one to it") as unknown:
        await client.put("q", 1)
    assert nodes[0].calls[-1].document["idempotency_key"] == unknown.value.idempotency_key
    assert (await client.put("q", 1, idempotency_key=unknown.value.idempotency_key)).value == 1


@pytest.mark.asyncio
async def test_an_answer_to_another_question_is_a_protocol_error(client, nodes):
    nodes[0].script = once(lambda call: reply_ok(call, {"inserted": [], "changed": []}))
    with pytest.raises(raftq.ProtocolError):
        await client.modify(inserts=[raftq.Insert("q")], dry_run=True)
