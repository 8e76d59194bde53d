"""The service behind a token: verbs over memory, as dialects call them."""

from typing import Any, Self

import pytest

from raftq.wire.formats import decode, encode
from raftq_cluster.auth.tokens import Principal, parse_grants
from raftq_cluster.backends.api import TransferLeadership
from raftq_cluster.backends.memory import MemoryBackend
from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.outcomes import Claimed, Modified, Outcome, Refused, Settled
from raftq_cluster.service import taskq
from raftq_cluster.service.authorised import Authorised, readable
from raftq_cluster.service.facade import Service
from raftq_cluster.service.limits import Limits
from raftq_cluster.service.refusals import Refusal
from raftq_cluster.service.verbs import VERBS, call

pytestmark = pytest.mark.asyncio
HOLD_MS = 60_000


class House:
    """A service with some tasks in it, and entrances to it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.service = Service(MemoryBackend(seed=1), limits)

    async def __aenter__(self) -> Self:
        await self.service.start()
        for queue in ("/a/1", "/a/2", "/b"):
            inserts = [{"queue": queue, "id": f"in-{queue[1:].replace('/', '-')}"}]
            await ask(self.service, "modify", inserts=inserts)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.service.stop()

    def entrance(self, *rights: str, name: str = "me") -> Authorised:
        return Authorised(self.service, Principal(name, parse_grants(rights)))


async def ask(entrance: Any, verb: str, **document: Any) -> Any:
    known = VERBS[verb]
    request = decode(encode(document, "json"), known.request, "json")
    _, reply = await call(entrance, known, request, "json")
    return decode(encode(reply, "json"), dict, "json")


async def refusal(entrance: Any, verb: str, **document: Any) -> Refusal:
    with pytest.raises(Refusal) as refused:
        await ask(entrance, verb, **document)
    return refused.value


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "insert": ("modify", {"inserts": [{"queue": "/b"}]}),
    "claim": ("claim", {"queues": ["/b"]}),
    "change": ("modify", {"changes": [{"id": "in-b", "version": 0, "err": "x"}]}),
    "delete": ("modify", {"deletes": [{"id": "in-b", "version": 0}]}),
    "read": ("tasks", {"queue": "/b"}),
    "admin": ("configure", {"pattern": "/b", "paused": True}),
}
ALL_RIGHTS = tuple(REQUESTS)


@pytest.mark.parametrize("right", ALL_RIGHTS)
async def test_each_right_lets_its_request_pass(right: str) -> None:
    async with House() as house:
        verb, document = REQUESTS[right]
        await ask(house.entrance(f"{right}:/b"), verb, **document)


@pytest.mark.parametrize("right", ALL_RIGHTS)
async def test_without_its_right_a_request_is_forbidden_whatever_else_is_allowed(
    right: str,
) -> None:
    async with House() as house:
        verb, document = REQUESTS[right]
        others = ",".join(name for name in ALL_RIGHTS if name != right)
        refused = await refusal(house.entrance(f"{others}:/b", "all:/a*"), verb, **document)
        assert refused.code == "forbidden"
        assert f"{right} on queue /b" in refused.detail


async def test_a_claim_of_several_queues_needs_the_right_on_each() -> None:
    async with House() as house:
        entrance = house.entrance("all:/a/*")
        refused = await refusal(entrance, "claim", queues=["/a/1", "/b"])
        assert refused.detail.endswith("/b")
        refused = await refusal(entrance, "claim", queues=["/a/1", "/b"], wait_ms=1_000)
        assert refused.code == "forbidden"


async def test_a_claim_that_may_wait_is_answered() -> None:
    async with House() as house:
        reply = await ask(house.entrance("claim:/b"), "claim", queues=["/b"], wait_ms=HOLD_MS)
        assert [task["id"] for task in reply["tasks"]] == ["in-b"]


async def test_listings_show_what_may_be_read() -> None:
    async with House() as house:
        reply = await ask(house.entrance("read:/a/*"), "queues")
        assert [queue["name"] for queue in reply["queues"]] == ["/a/1", "/a/2"]


async def test_who_may_read_nothing_sees_no_queue() -> None:
    async with House() as house:
        assert (await ask(house.entrance("insert:*"), "queues"))["queues"] == []


async def test_a_hidden_task_looks_like_one_that_is_not_there() -> None:
    async with House() as house:
        entrance = house.entrance("all:/a/*")
        refusals = [await refusal(entrance, "task", id=id_) for id_ in ("in-b", "none")]
        assert [item.code for item in refusals] == ["task_not_found"] * 2
        assert refusals[0].detail.replace("in-b", "none") == refusals[1].detail


async def test_hidden_tasks_do_not_count_towards_the_limit_of_a_listing_by_ids() -> None:
    async with House() as house:
        ids = ["in-b", "in-a-1"]
        reply = await ask(house.entrance("read:/a/*"), "tasks", id=ids, limit=1)
        assert [task["id"] for task in reply["tasks"]] == ["in-a-1"]


async def test_settings_are_shown_where_they_decide_for_a_readable_queue() -> None:
    async with House() as house:
        for pattern in ("/a*", "/a/1", "/b", "*"):
            await ask(house.service, "configure", pattern=pattern, paused=False)
        reply = await ask(house.entrance("read:/a/*"), "settings")
        assert [row["pattern"] for row in reply["settings"]] == ["*", "/a*", "/a/1"]


async def test_settings_of_a_pattern_need_admin_on_all_that_it_matches() -> None:
    async with House() as house:
        entrance = house.entrance("admin:/a/*")
        await ask(entrance, "configure", pattern="/a/x*", paused=True)
        refused = await refusal(entrance, "configure", pattern="/a*", paused=True)
        assert refused.code == "forbidden"


async def test_a_batch_does_what_may_be_done_and_refuses_the_rest_in_its_place() -> None:
    async with House() as house:
        entrance = house.entrance("insert,claim:/b")
        told: list[list[Outcome]] = []
        operations = [
            taskq.enq(entrance, "/b", b"1"), taskq.enq(entrance, "/c", b"1"), taskq.deq("/b"),
            taskq.settle(op.NACK, "/c", 1),
        ]  # fmt: skip
        entrance.submit(operations, lambda _, outcomes: told.append(list(outcomes)))
        (outcomes,) = told
        assert [type(outcome) for outcome in outcomes] == [Modified, Refused, Claimed, Refused]
        entrance.submit(operations[1:2], lambda _, outcomes: told.append(list(outcomes)))
        assert [type(outcome) for outcome in told[1]] == [Refused]


@pytest.mark.parametrize(
    ("action", "right"), [("ack", "delete"), ("touch", "claim"), ("nack", "claim")]
)
async def test_settling_needs_the_right_for_what_becomes_of_the_task(
    action: str, right: str
) -> None:
    async with House() as house:
        _, (inserted,) = await house.service.run([taskq.enq(house.service, "/s", b"1")])
        assert isinstance(inserted, Modified)
        await house.service.run([taskq.deq("/s")])
        settle = taskq.settle(action, "/s", inserted.inserted[0].serial)
        others = ",".join(name for name in ALL_RIGHTS if name != right)
        _, (refused,) = await house.entrance(f"{others}:/s").run([settle])
        assert isinstance(refused, Refused)
        _, (settled,) = await house.entrance(f"{right}:/s").run([settle])
        assert isinstance(settled, Settled)


async def test_the_key_of_somebody_else_is_no_way_to_the_answer() -> None:
    async with House() as house:
        request = {"queues": ["/b"], "idempotency_key": "k", "lease_ms": HOLD_MS}
        mine, other = house.entrance("claim:*"), house.entrance("claim:*", name="you")
        first = await ask(mine, "claim", **request)
        assert await ask(mine, "claim", **request) == first
        assert (await refusal(other, "claim", **request)).code == "idempotency_key_reused"


async def test_a_modification_that_is_guarded_keeps_its_key() -> None:
    async with House() as house:
        entrance = house.entrance("delete:/b")
        request = {"deletes": [{"id": "in-b", "version": 0}], "idempotency_key": "k"}
        assert await ask(entrance, "modify", **request) == await ask(entrance, "modify", **request)


async def test_a_dry_run_refuses_what_the_modification_would() -> None:
    async with House() as house:
        entrance = house.entrance("all:/a/*")
        inserts = [{"queue": "/b"}]
        assert (
            await refusal(entrance, "modify", inserts=inserts, dry_run=True)
        ).code == "forbidden"
        deletes = [{"id": "in-b", "version": 0}]
        refused = await refusal(entrance, "modify", deletes=deletes, dry_run=True)
        assert [part.reason for part in refused.failed] == ["missing"]


async def test_a_renewal_of_a_hidden_task_loses_it_as_missing() -> None:
    async with House() as house:
        tasks = [{"id": "in-b", "version": 0}]
        reply = await ask(house.entrance("claim:/a/*"), "renew", tasks=tasks, lease_ms=HOLD_MS)
        assert reply["lost"] == [{"id": "in-b", "reason": "missing"}]


async def test_members_are_changed_with_admin_everywhere_only() -> None:
    async with House() as house:
        with pytest.raises(Refusal) as refused:
            await house.entrance("admin:/*", "all:/b").change_members(TransferLeadership(""))
        assert refused.value.code == "forbidden"


async def test_states_are_compared_with_admin_everywhere_only() -> None:
    async with House() as house:
        with pytest.raises(Refusal):
            await ask(house.entrance("admin:/*", "read:*"), "verify")
        assert (await ask(house.entrance("admin:*"), "verify"))["members"]


async def test_the_digest_needs_admin_everywhere() -> None:
    async with House() as house:
        with pytest.raises(Refusal):
            await house.entrance("read:*").read(queries.Digest())
        assert (await house.entrance("admin:*").read(queries.Digest())).value


async def test_the_log_is_not_written_by_hand() -> None:
    async with House() as house:
        _, (outcome,) = await house.entrance("all:*").run([op.Tick()])
        assert isinstance(outcome, Refused)


async def test_a_full_node_refuses_inserts_behind_a_guard_too() -> None:
    async with House(Limits(bytes_held_max=1_200)) as house:
        entrance = house.entrance("all:/b")
        parts = {"inserts": [{"queue": "/b"}], "deletes": [{"id": "in-b", "version": 0}]}
        assert (await refusal(entrance, "modify", **parts)).code == "store_full"
        await ask(entrance, "modify", deletes=parts["deletes"])


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (queries.Queues((), (), 9), queries.Queues(("/a/",), ("/b",), 9)),
        (queries.Queues(("/a/1",), (), 9), queries.Queues(("/a/1",), (), 9)),
        (queries.Queues(("/",), ("/b", "/c"), 9), queries.Queues(("/a/",), ("/b",), 9)),
        (queries.Queues((), ("/a/1", "/c"), 9), queries.Queues((), ("/a/1",), 9)),
        (queries.Queues(("/c",), ("/d",), 9), None),
    ],
)
async def test_a_listing_is_narrowed_to_what_both_the_question_and_the_rights_match(
    asked: queries.Queues, shown: queries.Queues | None
) -> None:
    assert readable(asked, parse_grants(["read:/a/*", "read:/b", "all:/c/x"][:2])) == shown
