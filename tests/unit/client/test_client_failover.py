"""Failover over channels that do what the test says: what is retried, where, and what is certain after."""

import asyncio
from collections.abc import Callable

import pytest

import raftq
from raftq.backoff import Backoff
from raftq.errors import ConnectionLost, RaftqError
from raftq.tasks import Modified
from raftq.transport.failover import Failover, Pacing
from raftq.wire import documents, membership

AT_ONCE = Pacing(try_s=5.0, backoff=Backoff(0.0, 0.0))
DONE = b'{"inserted":[],"changed":[]}'
NOT_SENT = ConnectionLost("refused")
LOST = ConnectionLost("ended", maybe_done=True)


def failure(code: str) -> RaftqError:
    return raftq.Unavailable("no leader", code=code)


class FakeChannel:
    """Gives one step of its script per call; the last one for ever."""

    def __init__(self, *steps: bytes | Exception | Callable[[], bytes]) -> None:
        self.steps = list(steps)
        self.bodies: list[bytes] = []
        self.timeouts: list[float] = []
        self.closed = 0

    async def send(self, verb: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        self.bodies.append(body)
        self.timeouts.append(timeout_s)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        return 5, step if isinstance(step, bytes) else step()

    async def close(self) -> None:
        self.closed += 1


async def modify(*channels: FakeChannel, key: str = "k", timeout_s: float = 10.0, **options):
    failover = Failover(channels, pacing=AT_ONCE, **options)
    return await call(failover, key=key, timeout_s=timeout_s)


async def call(failover: Failover, *, key: str = "k", timeout_s: float = 10.0):
    document = documents.ModifyRequest(idempotency_key=key)
    return await failover.call("modify", document, Modified, timeout_s=timeout_s)


@pytest.mark.asyncio
async def test_a_good_answer_tells_index_reply_and_that_it_is_the_first():
    answer = await modify(FakeChannel(DONE))
    assert (answer.log_index, answer.reply.inserted, answer.is_first_try) == (5, [], True)


@pytest.mark.parametrize(
    "error",
    [
        NOT_SENT,
        LOST,
        raftq.Unavailable("no leader"),
        raftq.TooBusy("waiters", code="too_busy"),
        raftq.OutcomeUnknown("leader lost"),
        raftq.ProtocolError("what is this"),
    ],
)
@pytest.mark.asyncio
async def test_what_is_retryable_goes_to_the_next_node_with_the_same_bytes(error):
    first, second = FakeChannel(error), FakeChannel(DONE)
    answer = await modify(first, second)
    assert not answer.is_first_try
    assert first.bodies == second.bodies
    assert b'"idempotency_key":"k"' in first.bodies[0]


@pytest.mark.parametrize(
    "error",
    [
        raftq.InvalidRequest("no"),
        raftq.DependencyError("no"),
        raftq.TooLarge("no"),
        raftq.Denied("no"),
        raftq.ServerFailure("no"),
        raftq.NotFound("no"),
    ],
)
@pytest.mark.asyncio
async def test_what_is_not_retryable_is_raised_at_once(error):
    second = FakeChannel(DONE)
    with pytest.raises(type(error)) as raised:
        await modify(FakeChannel(error), second)
    assert raised.value is error
    assert second.bodies == []


@pytest.mark.asyncio
async def test_a_good_node_is_kept():
    first, second = FakeChannel(NOT_SENT), FakeChannel(DONE)
    failover = Failover([first, second], pacing=AT_ONCE)
    for _ in range(3):
        await call(failover)
    assert (len(first.bodies), len(second.bodies)) == (1, 3)


@pytest.mark.asyncio
async def test_calls_that_fail_together_move_on_one_node_only():
    release = asyncio.Event()

    class Hanging(FakeChannel):
        async def send(self, verb, body, timeout_s):
            self.bodies.append(body)
            await release.wait()
            raise LOST

    first, second, third = Hanging(DONE), FakeChannel(DONE), FakeChannel(DONE)
    failover = Failover([first, second, third], pacing=AT_ONCE)
    calls = [asyncio.create_task(call(failover)) for _ in range(4)]
    while len(first.bodies) < 4:
        await asyncio.sleep(0)
    release.set()
    await asyncio.gather(*calls)
    assert (len(second.bodies), len(third.bodies)) == (4, 0)


@pytest.mark.asyncio
async def test_the_round_of_nodes_is_made_again_until_one_answers():
    first, second = FakeChannel(NOT_SENT, NOT_SENT, NOT_SENT), FakeChannel(NOT_SENT, DONE)
    await modify(first, second)
    assert (len(first.bodies), len(second.bodies)) == (2, 2)


# --- what is certain in the end ------------------------------------------------------------------


@pytest.mark.asyncio
async def test_no_time_left_after_a_call_that_was_never_sent_is_connection_lost():
    with pytest.raises(raftq.ConnectionLost, match="refused"):
        await modify(FakeChannel(NOT_SENT), timeout_s=0.0)


@pytest.mark.asyncio
async def test_no_time_left_after_a_call_that_was_not_done_is_unavailable():
    with pytest.raises(raftq.Unavailable, match="no leader"):
        await modify(FakeChannel(failure("unavailable")), timeout_s=0.0)


@pytest.mark.parametrize("error", [LOST, raftq.OutcomeUnknown("leader lost")])
@pytest.mark.asyncio
async def test_a_call_that_may_have_been_done_ends_unknown_with_its_key(error):
    with pytest.raises(raftq.OutcomeUnknown) as raised:
        await modify(FakeChannel(error), timeout_s=0.0)
    assert raised.value.idempotency_key == "k"


@pytest.mark.parametrize(
    "error",
    [NOT_SENT, failure("unavailable"), raftq.Denied("token withdrawn"), raftq.ServerFailure("odd")],
)
@pytest.mark.asyncio
async def test_a_later_failure_does_not_undo_an_earlier_doubt(error):
    with pytest.raises(raftq.OutcomeUnknown) as raised:
        await modify(FakeChannel(LOST, error), timeout_s=0.05)
    assert raised.value.idempotency_key == "k"
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [raftq.DependencyError("no"), raftq.InvalidRequest("no"), raftq.TooLarge("no")]
)
@pytest.mark.asyncio
async def test_a_refusal_that_knows_the_key_settles_an_earlier_doubt(error):
    with pytest.raises(type(error)):
        await modify(FakeChannel(LOST, error))


@pytest.mark.parametrize("error", [LOST, raftq.OutcomeUnknown("leader lost")])
@pytest.mark.asyncio
async def test_a_change_of_the_cluster_that_may_have_been_done_ends_unknown_without_a_key(error):
    failover = Failover([FakeChannel(error)], pacing=AT_ONCE)
    request = membership.RemoveMemberRequest(id="n3")
    with pytest.raises(raftq.OutcomeUnknown) as raised:
        await failover.call("remove_member", request, documents.ClusterReply, timeout_s=0.0)
    assert raised.value.idempotency_key == ""


@pytest.mark.asyncio
async def test_a_question_is_never_of_unknown_outcome():
    with pytest.raises(raftq.ConnectionLost):
        await modify(FakeChannel(LOST), key="", timeout_s=0.0)
    with pytest.raises(raftq.Unavailable, match="leader lost"):
        await modify(FakeChannel(raftq.OutcomeUnknown("leader lost")), key="", timeout_s=0.0)


@pytest.mark.asyncio
async def test_nodes_that_all_speak_something_else_are_not_asked_for_ever():
    first, second = (FakeChannel(raftq.ProtocolError("HTTP?")) for _ in range(2))
    with pytest.raises(raftq.ProtocolError):
        await modify(first, second)
    assert (len(first.bodies), len(second.bodies)) == (1, 1)


@pytest.mark.asyncio
async def test_an_answer_that_cannot_be_read_leaves_a_doubt_and_a_question_without_answer():
    with pytest.raises(raftq.OutcomeUnknown, match="cannot be read") as unknown:
        await modify(FakeChannel(b'{"inserted":7}'))
    assert unknown.value.idempotency_key == "k"
    with pytest.raises(raftq.ProtocolError, match="cannot be read"):
        await modify(FakeChannel(b'{"inserted":7}'), key="")


@pytest.mark.asyncio
async def test_a_call_whose_answer_cannot_be_read_is_asked_of_the_next_node():
    first, second = FakeChannel(b"\xff"), FakeChannel(DONE)
    assert (await modify(first, second)).reply.inserted == []
    assert first.bodies == second.bodies


@pytest.mark.asyncio
async def test_unknown_fields_of_an_answer_are_passed_over():
    answer = await modify(FakeChannel(b'{"inserted":[],"changed":[],"moon":"full"}'))
    assert answer.reply.changed == []


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_try_has_its_own_bound_and_never_more_than_what_is_left():
    channel = FakeChannel(NOT_SENT, DONE)
    await modify(channel, timeout_s=3.0)
    assert all(0 < timeout_s <= 3.0 for timeout_s in channel.timeouts)
    patient = FakeChannel(DONE)
    await modify(patient, timeout_s=60.0)
    assert patient.timeouts == [AT_ONCE.try_s]


@pytest.mark.asyncio
async def test_a_wait_is_given_on_top():
    channel = FakeChannel(b'{"tasks":[]}')
    failover = Failover([channel], pacing=AT_ONCE)
    document = documents.ClaimRequest(queues=["q"])
    reply_type = documents.ClaimReply
    await failover.call("claim", document, reply_type, timeout_s=30.0, wait_s=20.0)
    assert channel.timeouts == [AT_ONCE.try_s + 20.0]


@pytest.mark.asyncio
async def test_a_busy_node_is_left_alone_as_long_as_it_asks():
    busy = raftq.TooBusy("waiters")
    busy.retry_after_ms = 60_000
    with pytest.raises(raftq.TooBusy):  # it would be longer than there is time
        await modify(FakeChannel(busy, DONE), timeout_s=5.0)


def test_pauses_grow_to_a_bound_and_are_never_the_same_for_all():
    backoff = Backoff(0.05, 2.0)
    for rounds, longest_s in ((0, 0.05), (1, 0.1), (3, 0.4), (6, 2.0), (10**6, 2.0)):
        pauses = {backoff.pause_s(rounds) for _ in range(50)}
        assert longest_s / 2 <= min(pauses) < max(pauses) <= longest_s


# --- the rest ------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_request_over_the_limit_is_refused_before_it_is_sent():
    channel = FakeChannel(DONE)
    with pytest.raises(raftq.TooLarge) as refused:
        await modify(channel, body_bytes_max=10)
    assert (refused.value.limit, refused.value.limit_name) == (10, "body_bytes_max")
    assert channel.bodies == []


@pytest.mark.asyncio
async def test_a_closed_transport_closes_its_channels_and_refuses_calls():
    channels = [FakeChannel(DONE), FakeChannel(DONE)]
    failover = Failover(channels, pacing=AT_ONCE)
    await failover.close()
    assert [channel.closed for channel in channels] == [1, 1]
    with pytest.raises(raftq.MisuseError, match="closed"):
        await call(failover)


# --- nobody there --------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_call_that_reaches_nobody_gives_up_early_where_that_is_wished_and_asks_all_first():
    pacing = Pacing(backoff=Backoff(0.0, 0.0), unreachable_s=0.0)
    channels = [FakeChannel(NOT_SENT) for _ in range(3)]
    with pytest.raises(ConnectionLost):
        await call(Failover(channels, pacing=pacing))
    assert [len(channel.bodies) for channel in channels] == [1, 1, 1]


@pytest.mark.asyncio
@pytest.mark.parametrize("sign_of_life", [LOST, raftq.Unavailable("no leader")])
async def test_one_node_that_was_reached_is_reason_to_go_on(sign_of_life):
    pacing = Pacing(backoff=Backoff(0.0, 0.0), unreachable_s=0.0)
    first = FakeChannel(NOT_SENT, NOT_SENT, DONE)
    answer = await call(Failover([first, FakeChannel(sign_of_life)], pacing=pacing))
    assert not answer.is_first_try
