"""Verbs end to end over memory: each document in, its reply out, in both formats."""

import asyncio
import inspect
import json
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from tests.support.held_backend import START_MS, HeldBackend

from raftq.wire import documents as wire
from raftq.wire.formats import Format, decode, encode
from raftq_cluster.backends.api import BackendError
from raftq_cluster.core.outcomes import Unfinished
from raftq_cluster.service.facade import Service
from raftq_cluster.service.limits import Limits
from raftq_cluster.service.refusals import Refusal
from raftq_cluster.service.verbs import VERBS, OperationVerb, QueryVerb, call

pytestmark = pytest.mark.asyncio


class Caller:
    """Calls verbs as a server does: bytes in, bytes out."""

    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt
        self.backend = HeldBackend()
        self.service = Service(self.backend)
        self.index = 0

    async def __call__(self, name: str, **document: Any) -> Any:
        verb = VERBS[name]
        body = (
            msgspec.json.encode(document)
            if self.fmt == "json"
            else msgspec.msgpack.encode(document)
        )
        self.index, reply = await call(
            self.service, verb, decode(body, verb.request, self.fmt), self.fmt
        )
        assert isinstance(reply, verb.reply)
        answer = encode(reply, self.fmt)
        return json.loads(answer) if self.fmt == "json" else msgspec.msgpack.decode(answer)

    async def refused(self, name: str, **document: Any) -> wire.Problem:
        with pytest.raises(Refusal) as caught:
            await self(name, **document)
        return caught.value.problem()

    def value(self, data: bytes) -> Any:
        """Say bytes as this format does."""
        return data if self.fmt == "msgpack" else msgspec.to_builtins(data)


@pytest_asyncio.fixture(params=["json", "msgpack"])
async def caller(request):
    caller = Caller(request.param)
    await caller.service.start()
    yield caller
    await caller.service.stop()


async def test_a_task_goes_through_its_life(caller):
    (inserted,) = (await caller("modify", inserts=[{"queue": "/a", "value": {"n": 1}}]))["inserted"]
    assert "value" not in inserted
    (task,) = (await caller("claim", queues=["/a"], claimant="w1"))["tasks"]
    assert task == {
        "id": inserted["id"], "version": 1, "queue": "/a", "at": START_MS + 30_000, "claimant": "w1",
        "claims": 1, "attempt": 0, "priority": 0, "err": "", "created": START_MS, "modified": START_MS,
        "value": {"n": 1},
    }  # fmt: skip
    renewed = await caller(
        "renew", tasks=[{"id": task["id"], "version": 1}], claimant="w1", lease_ms=5
    )
    assert [(row["version"], row["at"]) for row in renewed["renewed"]] == [(2, START_MS + 5)]
    assert renewed["lost"] == []
    done = await caller("modify", deletes=[{"id": task["id"], "version": 2}], claimant="w1")
    assert done == {"inserted": [], "changed": []}
    assert caller.index == 4


async def test_bytes_come_back_as_bytes(caller):
    body = caller.value(b"\x00\xff")
    await caller("modify", inserts=[{"queue": "/a", "id": "x", "value_b64": body}])
    task = await caller("task", id="x")
    assert task["value_b64"] == body
    assert "value" not in task


async def test_no_value_comes_back_as_null(caller):
    await caller("modify", inserts=[{"queue": "/a", "id": "x"}])
    assert (await caller("task", id="x"))["value"] is None


async def test_changed_tasks_are_answered_without_their_values(caller):
    await caller("modify", inserts=[{"queue": "/a", "id": "x"}])
    (changed,) = (await caller("modify", changes=[{"id": "x", "version": 0, "value": 5}]))[
        "changed"
    ]
    assert (changed["version"], "value" in changed) == (1, False)


async def test_a_refused_modification_tells_every_failing_part(caller):
    await caller("modify", inserts=[{"queue": "/a", "id": "x"}])
    problem = await caller.refused(
        "modify",
        inserts=[{"queue": "/a", "id": "x"}],
        deletes=[{"id": "y", "version": 0}],
        depends=[{"id": "z", "version": 0}],
    )
    assert (problem.code, problem.index) == ("dependency", caller.index + 1)
    assert [(part.part, part.id, part.reason) for part in problem.failed] == [
        ("insert", "x", "exists"), ("delete", "y", "missing"), ("depend", "z", "missing"),
    ]  # fmt: skip


async def test_a_dry_run_answers_what_would_be_and_writes_nothing(caller):
    document = {"inserts": [{"queue": "/a", "id": "x"}], "dry_run": True}
    (foretold,) = (await caller("modify", **document))["inserted"]
    assert (foretold["id"], caller.backend.submitted) == ("x", [])
    await caller("modify", inserts=document["inserts"])
    assert (await caller.refused("modify", **document)).code == "dependency"


async def test_a_dry_run_is_told_from_an_operation():
    verb = VERBS["modify"]
    assert isinstance(verb, OperationVerb)
    assert not verb.is_operation(wire.ModifyRequest(dry_run=True))
    assert verb.is_operation(wire.ModifyRequest())


async def test_lost_tasks_are_told_with_the_reason(caller):
    await caller("modify", inserts=[{"queue": "/a", "id": "x"}])
    answer = await caller("renew", tasks=[{"id": "x", "version": 9}, {"id": "y", "version": 0}])
    assert answer["lost"] == [{"id": "x", "reason": "version"}, {"id": "y", "reason": "missing"}]


async def test_queues_are_listed_with_their_statistics(caller):
    await caller("configure", pattern="/b", order="fifo", paused=True)
    await caller(
        "modify", inserts=[{"queue": "/a", "delay_ms": 5_000}, {"queue": "/b"}, {"queue": "/c"}]
    )
    listed = (await caller("queues", prefix=["/b"], exact=["/a", "/none"]))["queues"]
    assert [row["name"] for row in listed] == ["/a", "/b"]
    oldest = listed[1].pop("oldest_ready_at")
    assert START_MS - 1_024 < oldest <= START_MS
    assert listed == [
        {"name": "/a", "tasks": 1, "ready": 0, "claimed": 0, "delayed": 1, "max_claims": 0,
         "oldest_ready_at": None, "order": "random", "paused": False},
        {"name": "/b", "tasks": 1, "ready": 1, "claimed": 0, "delayed": 0, "max_claims": 0,
         "order": "fifo", "paused": True},
    ]  # fmt: skip
    assert len((await caller("queues", limit=1))["queues"]) == 1


async def test_tasks_are_listed_by_queue_by_id_and_by_claimant(caller):
    await caller("modify", inserts=[{"queue": "/a", "id": f"x{n}", "value": n} for n in range(3)])
    await caller("claim", queues=["/a"], claimant="w1", limit=2)
    by_id = (await caller("tasks", id=["x2", "none", "x0"]))["tasks"]
    assert [(task["id"], task["value"]) for task in by_id] == [("x2", 2), ("x0", 0)]
    assert len((await caller("tasks", queue="/a", claimant="w1"))["tasks"]) == 2
    assert len((await caller("tasks", queue="/a", limit=1))["tasks"]) == 1
    for task in (await caller("tasks", queue="/a", omit_values=True))["tasks"]:
        assert not {"value", "value_b64"} & task.keys()


async def test_a_listing_of_all_tasks_is_refused(caller):
    problem = await caller.refused("tasks")
    assert (problem.code, problem.field) == ("invalid", "queue")


async def test_a_task_that_is_not_there_is_not_found(caller):
    assert (await caller.refused("task", id="x")).code == "task_not_found"
    assert (await caller.refused("task", id="a b")).code == "invalid"


async def test_settings_come_back_as_they_were_given(caller):
    assert await caller("configure", pattern="/a*", paused=False) == {}
    await caller("configure", pattern="*", order="priority", lease_ms=5)
    assert (await caller("settings"))["settings"] == [
        {"pattern": "*", "order": "priority", "lease_ms": 5},
        {"pattern": "/a*", "paused": False},
    ]
    await caller("configure", pattern="*", lease_ms_min=5, lease_ms_max=9)
    assert (await caller("settings"))["settings"][0] == {
        "pattern": "*",
        "lease_ms_min": 5,
        "lease_ms_max": 9,
    }
    await caller("configure", pattern="*")
    assert len((await caller("settings"))["settings"]) == 1


async def test_keys_can_be_forgotten(caller):
    await caller("modify", inserts=[{"queue": "/a", "id": "x"}], idempotency_key="k")
    assert caller.service.load().keys == 1
    assert await caller("forget", keys=["k", "none"]) == {}
    assert caller.service.load().keys == 0


async def test_the_same_request_with_the_same_key_is_done_once(caller):
    document = {"inserts": [{"queue": "/a"}], "idempotency_key": "k"}
    first = await caller("modify", **document)
    assert await caller("modify", **document) == first
    assert caller.service.load().tasks == 1
    problem = await caller.refused("claim", queues=["/a"], idempotency_key="k")
    assert problem.code == "idempotency_key_reused"


async def test_time_is_the_logs(caller):
    caller.backend.clock_ms += 5
    assert await caller("time") == {"now": START_MS + 5}


async def test_the_cluster_is_described(caller):
    await caller("configure", pattern="*", paused=False)
    cluster = await caller("cluster")
    assert (cluster["node"], cluster["leader"], cluster["index"]) == ("n1", "n1", 1)
    (member,) = cluster["members"]
    assert (member["id"], member["role"], member["applied"]) == ("n1", "leader", 1)


async def test_a_claim_waits_if_it_is_asked_to(caller):
    waiting = asyncio.ensure_future(caller("claim", queues=["/a"], wait_ms=300_000))
    await asyncio.sleep(0)
    assert caller.service.waiting() == 1
    await Caller.__call__(caller, "modify", inserts=[{"queue": "/a", "id": "x"}])
    assert [task["id"] for task in (await waiting)["tasks"]] == ["x"]


async def test_a_claim_that_does_not_wait_is_answered_empty(caller):
    assert await caller("claim", queues=["/a"]) == {"tasks": []}


@pytest.mark.parametrize("code", ["unavailable", "outcome_unknown"])
async def test_what_was_not_certainly_done_is_never_said_to_have_failed(caller, code):
    caller.backend.failure = Unfinished(code, "the leader is gone")
    problem = await caller.refused("modify", inserts=[{"queue": "/a"}])
    assert (problem.code, problem.retryable, problem.detail) == (code, True, "the leader is gone")


@pytest.mark.parametrize(
    ("name", "document"),
    [("queues", {}), ("tasks", {"queue": "/a"}), ("task", {"id": "x"}), ("settings", {})],
)
async def test_stale_reads_are_answered_when_nobody_can_confirm_fresh_ones(caller, name, document):
    await caller("modify", inserts=[{"queue": "/a", "id": "x"}])
    caller.backend.read_failure = BackendError("unavailable", "no leader")
    assert (await caller.refused(name, **document)).code == "unavailable"
    assert await caller(name, **document, consistency="stale") != {}


async def test_a_verification_tells_what_every_member_has(caller):
    reply = await caller("verify")
    assert [(row["id"], row["state"]) for row in reply["members"]] == [("n1", "same")]
    assert len(reply["members"][0]["digest"]) == 32
    caller.backend.read_failure = BackendError("unavailable", "no leader")
    assert (await caller.refused("verify", entry=7)).code == "unavailable"


async def test_every_verb_is_in_the_table_by_its_name():
    assert {name: verb.name for name, verb in VERBS.items()} == {name: name for name in VERBS}
    assert set(VERBS) == {
        "claim", "modify", "renew", "configure", "forget",
        "queues", "tasks", "task", "settings", "time", "cluster", "docs", "claim_docs", "namespaces",
        "add_member", "remove_member", "promote_member", "replace_member", "transfer",
        "verify",
    }  # fmt: skip


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
async def test_only_claims_wait(verb):
    if isinstance(verb, QueryVerb):
        assert inspect.iscoroutinefunction(verb.run)
    else:
        waits = verb.wait_ms(wire.ClaimRequest(queues=["/a"], wait_ms=7))
        assert waits == (7 if verb.name == "claim" else 0)


async def test_a_listing_whose_values_pass_the_limit_is_refused_by_its_name():
    service = Service(HeldBackend(), Limits(listing_bytes_max=9))
    await service.start()
    for _ in range(2):
        document = wire.ModifyRequest(inserts=[wire.Insert(queue="/a", value_b64=b"12345")])
        await call(service, VERBS["modify"], document, "json")
    with pytest.raises(Refusal) as caught:
        await call(service, VERBS["tasks"], wire.TasksRequest(queue="/a"), "json")
    assert (caught.value.code, caught.value.limit_name) == ("too_large", "listing_bytes_max")
    listed = wire.TasksRequest(queue="/a", omit_values=True)
    _, reply = await call(service, VERBS["tasks"], listed, "json")
    assert len(reply.tasks) == 2
