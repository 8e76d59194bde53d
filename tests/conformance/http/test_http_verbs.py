"""Every route of the v1 dialect does what its verb says, in JSON and in MessagePack."""

from typing import Any

import pytest
from tests.support.http_node import JSON, MSGPACK, START_MS, Answer, Header, Peer, serving

FORMATS = pytest.mark.parametrize("fmt", [JSON, MSGPACK], ids=["json", "msgpack"])


async def insert(peer: Peer, *tasks: dict[str, Any], fmt: Header = JSON) -> list[dict[str, Any]]:
    answer = await peer.ask("POST", "/v1/modify", fmt, document={"inserts": list(tasks)})
    assert answer.status == 200, answer
    inserted: list[dict[str, Any]] = answer.document()["inserted"]
    return inserted


async def claim(peer: Peer, *queues: str, fmt: Header = JSON, **fields: Any) -> Answer:
    document = {"queues": list(queues), **fields}
    return await peer.ask("POST", "/v1/claim", fmt, document=document)


@FORMATS
@pytest.mark.asyncio
async def test_an_inserted_task_is_claimed_with_its_value(fmt: Header) -> None:
    async with serving() as node, node.peer() as peer:
        (inserted,) = await insert(
            peer, {"queue": "/a", "value": {"n": [1, None, "é"]}, "priority": 3}, fmt=fmt
        )
        answer = await claim(peer, "/a", fmt=fmt, claimant="w1", lease_ms=5_000)
        (task,) = answer.document()["tasks"]
    assert answer.headers["content-type"] == fmt[1]
    assert inserted["version"] == 0
    assert "value" not in inserted
    assert task == {
        "id": inserted["id"],
        "version": 1,
        "queue": "/a",
        "at": START_MS + 5_000,
        "claimant": "w1",
        "claims": 1,
        "attempt": 0,
        "priority": 3,
        "err": "",
        "created": START_MS,
        "modified": START_MS,
        "value": {"n": [1, None, "é"]},
    }


@FORMATS
@pytest.mark.asyncio
async def test_bytes_come_back_as_bytes(fmt: Header) -> None:
    written: Any = "AP8K" if fmt == JSON else b"\x00\xff\n"
    async with serving() as node, node.peer() as peer:
        await insert(peer, {"queue": "/a", "value_b64": written}, fmt=fmt)
        (task,) = (await claim(peer, "/a", fmt=fmt)).document()["tasks"]
    assert task["value_b64"] == written
    assert "value" not in task


@pytest.mark.parametrize(
    ("said", "accepted"), [(JSON, MSGPACK), (MSGPACK, JSON)], ids=["json-in", "msgpack-in"]
)
@pytest.mark.asyncio
async def test_an_answer_has_the_format_that_is_accepted_not_the_one_that_was_sent(
    said: Header, accepted: Header
) -> None:
    accept = ("Accept", accepted[1])
    async with serving() as node, node.peer() as peer:
        inserted = await peer.ask(
            "POST", "/v1/modify", said, accept,
            document={"inserts": [{"queue": "/a", "value": {"x": 1.5}}]},
        )  # fmt: skip
        claimed = await peer.ask("POST", "/v1/claim", said, accept, document={"queues": ["/a"]})
        refused = await peer.ask("POST", "/v1/claim", said, accept, document={"queues": []})
    assert inserted.headers["content-type"] == accepted[1]
    assert claimed.document()["tasks"][0]["value"] == {"x": 1.5}
    assert refused.headers["content-type"] == accepted[1].replace("/", "/problem+")
    assert refused.code == "invalid"


@FORMATS
@pytest.mark.asyncio
async def test_a_modification_changes_deletes_and_depends_at_once(fmt: Header) -> None:
    async with serving() as node, node.peer() as peer:
        await insert(peer, *({"queue": "/a", "id": id_} for id_ in ("c", "d", "p")), fmt=fmt)
        document = {
            "inserts": [{"queue": "/b", "id": "new", "delay_ms": 1_000}],
            "changes": [{"id": "c", "version": 0, "queue": "/c", "value": 7, "err": "why"}],
            "deletes": [{"id": "d", "version": 0}],
            "depends": [{"id": "p", "version": 0}],
        }
        answer = await peer.ask("POST", "/v1/modify", fmt, document=document)
        left = await peer.ask("GET", "/v1/tasks?id=c&id=d&id=p&id=new", ("Accept", fmt[1]))
    modified = answer.document()
    assert [task["id"] for task in modified["inserted"]] == ["new"]
    assert modified["inserted"][0]["at"] == START_MS + 1_000
    assert [(task["id"], task["version"]) for task in modified["changed"]] == [("c", 1)]
    tasks = {task["id"]: task for task in left.document()["tasks"]}
    assert tasks.keys() == {"c", "p", "new"}
    assert (tasks["c"]["queue"], tasks["c"]["value"], tasks["c"]["err"]) == ("/c", 7, "why")


@FORMATS
@pytest.mark.asyncio
async def test_a_refused_modification_names_every_failing_part_and_changes_nothing(
    fmt: Header,
) -> None:
    async with serving() as node, node.peer() as peer:
        await insert(peer, {"queue": "/a", "id": "taken"}, {"queue": "/h", "id": "held"})
        await claim(peer, "/h", claimant="other", lease_ms=60_000)
        document = {
            "claimant": "me",
            "inserts": [{"queue": "/a", "id": "new"}, {"queue": "/a", "id": "taken"}],
            "changes": [{"id": "held", "version": 1}],
            "deletes": [{"id": "gone", "version": 0}],
        }
        answer = await peer.ask("POST", "/v1/modify", fmt, document=document)
        absent = await peer.ask("GET", "/v1/tasks/new")
    assert answer.status == 409
    assert answer.code == "dependency"
    problem = answer.document()
    assert problem["failed"] == [
        {"part": "insert", "index": 1, "id": "taken", "reason": "exists", "version": 0},
        {
            "part": "change",
            "index": 0,
            "id": "held",
            "reason": "claimed",
            "version": 1,
            "claimant": "other",
            "until": START_MS + 60_000,
        },
        {"part": "delete", "index": 0, "id": "gone", "reason": "missing"},
    ]
    assert str(problem["index"]) == answer.headers["x-raftq-index"]
    assert absent.code == "task_not_found"


@FORMATS
@pytest.mark.asyncio
async def test_a_renewal_tells_what_is_held_on_and_what_is_lost(fmt: Header) -> None:
    async with serving() as node, node.peer() as peer:
        await insert(peer, {"queue": "/a", "id": "t"})
        await claim(peer, "/a", claimant="w1", lease_ms=1_000)
        document = {
            "claimant": "w1",
            "tasks": [{"id": "t", "version": 1}, {"id": "gone", "version": 3}],
            "lease_ms": 9_000,
        }
        answer = await peer.ask("POST", "/v1/renew", fmt, document=document)
    (renewed,) = answer.document()["renewed"]
    assert (renewed["version"], renewed["at"]) == (2, START_MS + 9_000)
    assert answer.document()["lost"] == [{"id": "gone", "reason": "missing"}]


@FORMATS
@pytest.mark.asyncio
async def test_queues_are_found_by_prefix_and_by_name(fmt: Header) -> None:
    accept = ("Accept", fmt[1])
    async with serving() as node, node.peer() as peer:
        await insert(peer, *({"queue": name} for name in ("/a/1", "/a/2", "/b", "/c")))
        every = await peer.ask("GET", "/v1/queues", accept)
        some = await peer.ask("GET", "/v1/queues?prefix=/a/&exact=/c&limit=2", accept)
    assert [queue["name"] for queue in every.document()["queues"]] == ["/a/1", "/a/2", "/b", "/c"]
    assert [queue["name"] for queue in some.document()["queues"]] == ["/a/1", "/a/2"]
    assert every.document()["queues"][0]["ready"] == 1


@FORMATS
@pytest.mark.asyncio
async def test_tasks_are_listed_without_values_when_those_are_not_wanted(fmt: Header) -> None:
    accept = ("Accept", fmt[1])
    async with serving() as node, node.peer() as peer:
        await insert(peer, {"queue": "/a", "id": "t", "value": 1})
        full = await peer.ask("GET", "/v1/tasks?queue=/a", accept)
        bare = await peer.ask("GET", "/v1/tasks?queue=/a&omit_values=true", accept)
    assert full.document()["tasks"][0]["value"] == 1
    assert "value" not in bare.document()["tasks"][0]


@FORMATS
@pytest.mark.asyncio
async def test_one_task_is_found_by_its_id_whatever_characters_it_has(fmt: Header) -> None:
    async with serving() as node, node.peer() as peer:
        await insert(peer, {"queue": "/a", "id": "a/{b}?é%", "value": None})
        answer = await peer.ask("GET", "/v1/tasks/a%2F%7Bb%7D%3F%C3%A9%25", ("Accept", fmt[1]))
    assert answer.status == 200
    assert answer.document()["id"] == "a/{b}?é%"
    assert answer.document()["value"] is None


@FORMATS
@pytest.mark.asyncio
async def test_settings_are_put_listed_and_removed(fmt: Header) -> None:
    accept = ("Accept", fmt[1])
    put = {"pattern": "/a/*", "order": "fifo", "paused": True}
    async with serving() as node, node.peer() as peer:
        done = await peer.ask("PUT", "/v1/settings", fmt, document=put)
        listed = await peer.ask("GET", "/v1/settings", accept)
        await peer.ask("PUT", "/v1/settings", fmt, document={"pattern": "/a/*"})
        emptied = await peer.ask("GET", "/v1/settings", accept)
    assert done.document() == {}
    assert listed.document() == {"settings": [put]}
    assert emptied.document() == {"settings": []}


@FORMATS
@pytest.mark.asyncio
async def test_the_time_is_the_logs(fmt: Header) -> None:
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("GET", "/v1/time", ("Accept", fmt[1]))
    assert answer.document() == {"now": START_MS}


@FORMATS
@pytest.mark.asyncio
async def test_the_cluster_is_this_node(fmt: Header) -> None:
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("GET", "/v1/cluster", ("Accept", fmt[1]))
    cluster = answer.document()
    assert (cluster["node"], cluster["leader"]) == ("n1", "n1")
    assert [member["role"] for member in cluster["members"]] == ["leader"]


@FORMATS
@pytest.mark.asyncio
async def test_states_are_compared(fmt: Header) -> None:
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("POST", "/v1/cluster/verify", fmt, document={})
    (member,) = answer.document()["members"]
    assert (member["id"], member["state"], len(member["digest"])) == ("n1", "same", 32)


@FORMATS
@pytest.mark.asyncio
async def test_a_forgotten_key_may_name_another_request(fmt: Header) -> None:
    key = ("Idempotency-Key", "k")
    async with serving() as node, node.peer() as peer:
        await peer.ask("POST", "/v1/modify", key, document={"inserts": [{"queue": "/a"}]})
        forgotten = await peer.ask("POST", "/v1/forget", fmt, document={"keys": ["k"]})
        again = await peer.ask("POST", "/v1/modify", key, document={"inserts": [{"queue": "/b"}]})
    assert forgotten.document() == {}
    assert again.status == 200


@pytest.mark.asyncio
async def test_a_dry_run_tells_what_would_happen_and_writes_nothing() -> None:
    document = {"inserts": [{"queue": "/a", "id": "t"}], "dry_run": True}
    async with serving() as node, node.peer() as peer:
        would = await peer.ask("POST", "/v1/modify", document=document)
        index = node.service.status().index
        listed = await peer.ask("GET", "/v1/queues")
        await insert(peer, {"queue": "/a", "id": "t"})
        would_not = await peer.ask("POST", "/v1/modify", document=document)
    assert would.document()["inserted"][0]["id"] == "t"
    assert index == 0
    assert listed.document() == {"queues": []}
    assert would_not.code == "dependency"


@pytest.mark.asyncio
async def test_a_large_number_in_a_value_keeps_every_digit() -> None:
    digits = b"123456789012345678901234567890.10"
    body = b'{"inserts":[{"queue":"/a","value":{"n":' + digits + b"}}]}"
    async with serving() as node, node.peer() as peer:
        await peer.ask("POST", "/v1/modify", JSON, body=body)
        answer = await claim(peer, "/a")
    assert digits in answer.body


@pytest.mark.asyncio
async def test_every_answer_names_the_node_and_the_log_index_it_reflects() -> None:
    async with serving() as node, node.peer() as peer:
        await insert(peer, {"queue": "/a"})
        answers = [
            await peer.ask("POST", "/v1/claim", document={"queues": ["/a"]}),
            await peer.ask("GET", "/v1/queues"),
            await peer.ask("GET", "/v1/tasks/none"),
            await peer.ask("GET", "/nowhere"),
            await peer.ask("PATCH", "/v1/claim"),
            await peer.ask("OPTIONS", "/v1/claim"),
            await peer.ask("GET", "/livez"),
            await peer.ask("GET", "/apps/taskq/q"),
        ]
    assert {answer.headers["x-raftq-node"] for answer in answers} == {"n1"}
    assert [answer.headers["x-raftq-index"] for answer in answers] == ["2"] * len(answers)


@pytest.mark.asyncio
async def test_no_answer_tells_which_software_wrote_it() -> None:
    async with serving() as node, node.peer() as peer:
        answers = [await peer.ask("GET", path) for path in ("/livez", "/nowhere", "/v1/time")]
        await peer.send(b"garbage\r\n\r\n")
        answers.append(await peer.answer())
    assert {answer.headers["server"] for answer in answers} == {"raftq"}


@pytest.mark.parametrize("path", ["/v1/time", "/v1/tasks/none", "/livez", "/metrics"])
@pytest.mark.asyncio
async def test_head_answers_as_get_does_without_the_body(path: str) -> None:
    async with serving() as node, node.peer() as peer:
        got = await peer.ask("GET", path)
        headed = await peer.ask("HEAD", path)
        after = await peer.ask("GET", "/livez")
    assert headed.status == got.status
    assert headed.headers["content-type"] == got.headers["content-type"]
    assert headed.body == b""
    assert after.body == b"ok\n"


@pytest.mark.asyncio
async def test_options_tells_the_methods_of_an_address() -> None:
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("OPTIONS", "/v1/settings")
    assert answer.status == 204
    assert answer.headers["allow"] == "GET, HEAD, PUT, OPTIONS"


@pytest.mark.parametrize(
    "path", ["/v1/queues", "/v1/tasks?queue=q", "/v1/tasks/xxx", "/v1/settings"]
)
@pytest.mark.asyncio
async def test_an_answer_that_may_be_of_the_past_says_so(path: str) -> None:
    async with serving() as node, node.peer() as peer:
        await insert(peer, {"queue": "q", "id": "xxx"})
        fresh = await peer.ask("GET", path)
        stale = await peer.ask("GET", f"{path}{'&' if '?' in path else '?'}consistency=stale")
    assert (fresh.status, stale.status) == (200, 200)
    assert "x-raftq-consistency" not in fresh.headers
    assert stale.headers["x-raftq-consistency"] == "stale"
