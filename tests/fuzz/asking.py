"""Calls of the client library to a node that answers anything, and what may come of them.

A call succeeds only by a whole, readable answer to it. One that changes something and has an answer that cannot be
read, or none, has an unknown outcome, unless what answers has shown that it is no node at all.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from raftq import AsyncClient, Insert, Target
from raftq.backoff import Backoff
from raftq.errors import RaftqError
from raftq.transport.api import Channel
from raftq.transport.failover import Failover, Pacing

TIMEOUT_S: Final = 5.0
_ONE_TRY: Final = Pacing(backoff=Backoff(60.0, 60.0))  # whatever is retryable is told instead


class Call(NamedTuple):
    """One call: what it is called, whether it changes something, and which ids its answer gives."""

    verb: str
    changes: bool
    do: Callable[[AsyncClient], Awaitable[Any]]
    told: Callable[[Any], Any]  # of what the call gave
    said: Callable[[Any], Any]  # of the answer's document


def _ids(tasks: Any) -> list[Any]:
    return [task.id for task in tasks]


def _said_ids(name: str) -> Callable[[Any], list[Any]]:
    return lambda document: [task["id"] for task in document[name]]


CALLS: Final = (
    Call("modify", True, lambda client: client.put("q", 1), lambda task: [task.id], _said_ids("inserted")),
    Call(
        "modify", True,
        lambda client: client.modify(inserts=[Insert("q"), Insert("q", b"x")], deletes=[Target("a", 1)]),
        lambda modified: _ids(modified.inserted), _said_ids("inserted"),
    ),
    Call("modify", True, lambda client: client.done(Target("a", 1)), lambda none: none, lambda _document: None),
    Call("claim", True, lambda client: client.claim("q", limit=3), _ids, _said_ids("tasks")),
    Call("renew", True, lambda client: client.renew([Target("a", 1)]), lambda done: _ids(done.renewed),
         _said_ids("renewed")),
    Call("configure", True, lambda client: client.configure("q*", paused=True), lambda none: none,
         lambda _document: None),
    Call("claim_docs", True, lambda client: client.claim_docs(("n", "k")), lambda held: _ids(held.docs),
         _said_ids("docs")),
    Call("tasks", False, lambda client: client.tasks("q"), _ids, _said_ids("tasks")),
    Call("task", False, lambda client: client.task("a"), lambda task: task.id, lambda document: document["id"]),
    Call("queues", False, lambda client: client.queues(), lambda found: [queue.name for queue in found],
         lambda document: [queue["name"] for queue in document["queues"]]),
    Call("time", False, lambda client: client.time(), lambda now: now, lambda document: document["now"]),
    Call("cluster", False, lambda client: client.cluster(), lambda found: found.node,
         lambda document: document["node"]),
)  # fmt: skip
TASK: Final = '{"id":"a","version":1,"queue":"q","at":5,"value":[1]}'
ANSWERS: Final = (
    f'{{"inserted":[{TASK}],"changed":[],"index":7}}',
    f'{{"inserted":[{TASK},{TASK}],"changed":[]}}',
    '{"inserted":[],"changed":[]}',
    f'{{"tasks":[{TASK}]}}',
    '{"tasks":[]}',
    f'{{"renewed":[{TASK}],"lost":[]}}',
    "{}",
    '{"sets":[],"docs":[]}',
    TASK,
    '{"queues":[]}',
    '{"now":5}',
    '{"code":"dependency","detail":"no"}',
    "[]",
    "null",
    '{"type":"","title":"t","status":409,"detail":"d","code":"dependency","retryable":false,"failed":[]}',
    '{"type":"","title":"t","status":503,"detail":"d","code":"outcome_unknown","retryable":true}',
    '{"type":"","title":"t","status":400,"detail":"d","code":"\\u0000","retryable":true,"index":9223372036854775807}',
)


async def ask(call: Call, channel: Channel) -> tuple[Any, RaftqError | None]:
    """Do a call by one channel: what it gave, or how it failed. Anything but a RaftqError is raised."""
    client = AsyncClient(
        transport=Failover([channel], pacing=_ONE_TRY), timeout_s=TIMEOUT_S, claimant="c"
    )
    try:
        return call.told(await call.do(client)), None
    except RaftqError as error:
        return None, error
    finally:
        await client.close()


def check_answered(call: Call, answer: bytes, told: Any, error: RaftqError | None) -> None:
    """What may come of a call to which a node said ``ok`` with this document."""
    if error is None:
        assert told == call.said(json.loads(answer))
    elif call.changes:
        assert error.code == "outcome_unknown", f"done, perhaps, and reported as {error!r}"
