"""What the EntroQ dialect does while the cluster has no leader: it repeats a request, and does it once."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from raftq_cluster.backends.api import Answer
from raftq_cluster.backends.memory import MemoryBackend
from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Outcome, Refused, Unfinished
from raftq_cluster.servers.http.entroq import calls
from raftq_cluster.servers.http.entroq.calls import METHODS, Call, Caller
from raftq_cluster.service.facade import STOPPING, Service
from raftq_cluster.service.refusals import Refusal

pytestmark = pytest.mark.asyncio
UNKNOWN = Unfinished("outcome_unknown", "nobody knows")
NOBODY = Unfinished("unavailable", "no leader")
FULL = Refused("store_full", "the disk is nearly full")
BUSY = Refused("too_busy", "too many wait")
Trouble = Unfinished | Refused


class Troubled(Service):
    """A service that answers its first requests badly: done if the outcome is unknown, but nobody is told."""

    def __init__(self, *trouble: Trouble) -> None:
        super().__init__(MemoryBackend(seed=1))
        self.trouble = list(trouble)
        self.asked: list[Sequence[op.Operation]] = []

    async def run(self, operations: Sequence[op.Operation]) -> tuple[int, Sequence[Outcome]]:
        self.asked.append(operations)
        trouble = self.trouble.pop(0) if self.trouble else None
        if trouble is not None and trouble != UNKNOWN:
            return 0, [trouble] * len(operations)
        index, outcomes = await super().run(operations)
        return index, outcomes if trouble is None else [trouble] * len(operations)

    async def wait_claim(self, claim: op.Claim, wait_ms: int) -> tuple[int, Outcome]:
        trouble = self.trouble.pop(0) if self.trouble else None
        if trouble is not None and trouble != UNKNOWN:
            return 0, trouble
        index, outcome = await super().wait_claim(claim, wait_ms)
        return index, outcome if trouble is None else trouble

    async def read(self, query: Any, *, stale: bool = False) -> Answer:
        if self.trouble:
            self.trouble.pop()
            raise Refusal("unavailable", "no leader")
        return await super().read(query, stale=stale)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PAUSE_S", 0.0)


async def do(service: Service, caller: Caller, method: str, **document: Any) -> Any:
    table, function = METHODS[method]
    reply = await function(Call(caller, service, 2), table.read(msgspec.json.encode(document)))
    return msgspec.json.decode(msgspec.json.encode(reply))


async def test_a_modification_of_unknown_outcome_is_repeated_under_its_key_and_done_once() -> None:
    service = Troubled(UNKNOWN, NOBODY)
    caller = Caller()
    made = await do(service, caller, "Modify", inserts=[{"queue": "/q", "value": "v"}])
    assert made["inserted"][0]["value"] == "v"
    assert len({asked[-1][1] for asked in service.asked}) == 1  # type: ignore[misc]
    assert len(service.asked) == 3
    (stats,) = (await do(service, caller, "Queues"))["queues"]
    assert stats["numTasks"] == 1


def let_each_try_take_15_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of patience for 20 s."""
    loop, late = asyncio.get_running_loop(), [0.0]
    time, run, wait_claim = loop.time, Troubled.run, Troubled.wait_claim

    async def slow_run(self: Troubled, operations: Sequence[op.Operation]) -> Any:
        late[0] += 15.0
        return await run(self, operations)

    async def slow_claim(self: Troubled, claim: op.Claim, wait_ms: int) -> Any:
        late[0] += 15.0
        return await wait_claim(self, claim, wait_ms)

    monkeypatch.setattr(loop, "time", lambda: time() + late[0])
    monkeypatch.setattr(Troubled, "run", slow_run)
    monkeypatch.setattr(Troubled, "wait_claim", slow_claim)


async def test_a_node_that_is_full_now_is_asked_until_it_tells_what_became_of_an_earlier_try() -> (
    None
):
    service = Troubled(UNKNOWN, FULL, BUSY, NOBODY)
    caller = Caller()
    made = await do(service, caller, "Modify", inserts=[{"queue": "/q", "value": "v"}])
    assert made["inserted"][0]["value"] == "v"
    (stats,) = (await do(service, caller, "Queues"))["queues"]
    assert stats["numTasks"] == 1


@pytest.mark.parametrize("last", [FULL, BUSY, NOBODY, STOPPING])
async def test_what_may_be_done_stays_unknown_whatever_a_later_try_is_refused_for(
    last: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_each_try_take_15_s(monkeypatch)
    service = Troubled(UNKNOWN, last)
    with pytest.raises(Refusal) as refused:
        await do(service, Caller(), "Modify", inserts=[{"queue": "/q"}])
    assert refused.value.code == "outcome_unknown"
    assert last.detail in refused.value.detail
    assert service.load().tasks == 1


@pytest.mark.parametrize("last", [FULL, BUSY, NOBODY, STOPPING])
async def test_a_wait_that_may_have_claimed_a_task_stays_unknown_too(
    last: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Troubled()
    await do(service, Caller(), "Modify", inserts=[{"queue": "/q"}])
    let_each_try_take_15_s(monkeypatch)
    service.trouble = [UNKNOWN, last, last]
    with pytest.raises(Refusal) as refused:
        await do(service, Caller(), "Claim", queues=["/q"])
    assert refused.value.code == "outcome_unknown"


@pytest.mark.parametrize("last", [FULL, BUSY])
async def test_what_was_never_begun_is_refused_at_once(last: Refused) -> None:
    service = Troubled(NOBODY, last)
    with pytest.raises(Refusal) as refused:
        await do(service, Caller(), "Modify", inserts=[{"queue": "/q"}])
    assert (refused.value.code, len(service.asked)) == (last.code, 2)


async def test_a_repeated_lease_is_answered_with_the_tasks_value() -> None:
    service = Troubled()
    caller = Caller()
    inserts = [{"queue": "/q", "value": "v"}, {"queue": "/q"}]
    made = (await do(service, caller, "Modify", inserts=inserts))["inserted"]
    service.trouble = [UNKNOWN]
    renewals = [
        {"oldId": {"id": task["id"], "version": 0}, "newData": {"byMs": 9_000}, "mode": "CHANGE_LEASE"}
        for task in made
    ]  # fmt: skip
    changed = (await do(service, caller, "Modify", changes=renewals))["changed"]
    assert [task["value"] for task in changed] == ["v", None]


async def test_what_is_done_is_not_told_as_failed_because_nobody_leads_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "PATIENCE_S", 0.0)
    service = Troubled()
    caller = Caller()
    inserts = [{"queue": "/q"}]
    (task,) = (await do(service, caller, "Modify", inserts=inserts))["inserted"]

    async def nobody(*_: Any, **__: Any) -> Answer:
        raise Refusal("unavailable", "no leader")

    monkeypatch.setattr(service, "read", nobody)
    renewal = {"oldId": {"id": task["id"]}, "newData": {"byMs": 9_000}, "mode": "CHANGE_LEASE"}
    changed = (await do(service, caller, "Modify", changes=[renewal]))["changed"]
    assert [task["version"] for task in changed] == [1]


async def test_a_claim_and_a_listing_outlive_a_change_of_leader() -> None:
    service = Troubled()
    caller = Caller()
    await do(service, caller, "Modify", inserts=[{"queue": "/q", "value": "v"}])
    service.trouble = [NOBODY, UNKNOWN]
    claimed = (await do(service, caller, "TryClaim", queues=["/q"]))["task"]
    assert (claimed["claims"], claimed["value"]) == (1, "v")
    service.trouble = [NOBODY, NOBODY]
    assert len((await do(service, caller, "Tasks", queue="/q"))["tasks"]) == 1


async def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PATIENCE_S", 0.0)
    service = Troubled(*[NOBODY] * 50)
    caller = Caller()
    for method, document in (("Modify", {"inserts": [{"queue": "/q"}]}), ("Time", {})):
        with pytest.raises(Refusal) as refused:
            await do(service, caller, method, **document)
        assert refused.value.code == "unavailable"


async def test_keys_whose_answers_have_arrived_are_forgotten_in_lots() -> None:
    service = Troubled()
    caller = Caller()
    for _ in range(calls.SPENT_KEYS_AT_ONCE + 1):
        await do(service, caller, "Modify", inserts=[{"queue": "/q"}])
    assert [asked[0][0] for asked in service.asked].count(op.FORGET) == 1
    assert service.load().keys == 1
