"""EntroQ's operations over an entrance of the service: one function each, messages in, JSON out.

EntroQ's clients do not repeat a modification whose outcome they do not know, and their workers end on an
error that they do not expect. So the node does it for them while the cluster has no leader: it
repeats under one idempotency key, for ``PATIENCE_S``. A try that may have been done is never told as refused, whatever a
later one was refused for.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeGuard

from msgspec import Raw

from raftq.wire.codes import CODES
from raftq.wire.formats import encode
from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.outcomes import (
    Claimed,
    DocsClaimed,
    FailedDoc,
    Outcome,
    Refused,
    TaskRow,
    Transacted,
    Unfinished,
)
from raftq_cluster.servers.http.entroq import messages
from raftq_cluster.servers.http.entroq.building import (
    Building,
    claim_docs_of,
    claim_of,
)
from raftq_cluster.servers.http.entroq.errors import details_of
from raftq_cluster.servers.http.entroq.messages import Message, Table
from raftq_cluster.servers.http.entroq.rendering import (
    Json,
    doc_json,
    docs_json,
    namespace_json,
    queue_json,
    set_json,
    task_json,
    tasks_json,
)
from raftq_cluster.service.entrance import Entrance
from raftq_cluster.service.facade import STOPPING
from raftq_cluster.service.names import check_namespace
from raftq_cluster.service.refusals import Refusal
from raftq_cluster.service.rendering import checked
from raftq_cluster.service.verbs import check_listing

PATIENCE_S: Final = 20.0  # outlives an election by far
PAUSE_S: Final = 0.1  # between tries
WAIT_MS: Final = 86_400_000  # of one wait for a task; the next begins where it ends
ASKING_MS: Final = 1  # of one that only asks what became of a claim
LISTED_MAX: Final = 100_000  # of what one request lists, whatever limit it has
ROWS_AT_ONCE: Final = 1_000  # written before others have their turn: some 10 ms
MEMBERS_NAMED_MAX: Final = 1_000  # docs of a held set, in the details of a refusal
_UNKNOWN: Final = "outcome_unknown"
SPENT_KEYS_AT_ONCE: Final = 64


class DependencyRefused(Exception):  # noqa: N818 - a refusal is an answer
    """A refusal with its details."""

    def __init__(self, refusal: Refusal, details: list[Json]) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal
        self.details = details


class _Tries:
    """What the tries of one request have told: a refusal of one says nothing of those before it."""

    def __init__(self) -> None:
        self._may_be_done = False

    def leave_open(self, outcome: Outcome) -> bool:
        """Take what came of the next try, and tell whether one more could tell more."""
        if isinstance(outcome, Unfinished):
            self._may_be_done |= outcome.code == _UNKNOWN
            return True
        return self._may_be_done and _is_of_the_moment(outcome)

    def sum_up(self, last: Outcome) -> Outcome:
        """Tell what came of all of them."""
        if not (self._may_be_done and _is_of_the_moment(last)) or last.code == _UNKNOWN:
            return last
        return Unfinished(_UNKNOWN, f"an earlier try may have been done; the last: {last.detail}")


def _is_of_the_moment(outcome: Outcome) -> TypeGuard[Refused | Unfinished]:
    return isinstance(outcome, Refused | Unfinished) and CODES[outcome.code].retryable


class Caller:
    """Does operations with patience. One for all requests of a node."""

    def __init__(self) -> None:
        self._spent: list[str] = []

    def key(self) -> str:
        """Make an idempotency key that nobody can guess: others could use it first, or have it forgotten."""
        return f"entroq.{secrets.token_hex(16)}"

    async def run(self, entrance: Entrance, operation: Any) -> tuple[int, Outcome]:
        """Do an operation that carries a key, until its outcome is known or patience ends."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + PATIENCE_S
        operations = [*self._forgetting(), operation]
        tries = _Tries()
        while True:
            index, outcomes = await entrance.run(operations)
            if not tries.leave_open(outcomes[-1]) or loop.time() > give_up_at:
                self.spend(operation.key)
                return index, tries.sum_up(outcomes[-1])
            operations = [operation]
            await asyncio.sleep(PAUSE_S)

    async def read(self, entrance: Entrance, query: queries.Query) -> Any:
        """Ask, until there is an answer or patience ends."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + PATIENCE_S
        while True:
            try:
                return (await entrance.read(query)).value
            except Refusal as refusal:
                if refusal.code != "unavailable" or loop.time() > give_up_at:
                    raise
            await asyncio.sleep(PAUSE_S)

    def spend(self, key: str) -> None:
        """Note a key whose answer has arrived: the log may forget it."""
        self._spent.append(key)

    def _forgetting(self) -> list[op.Operation]:
        if len(self._spent) < SPENT_KEYS_AT_ONCE:
            return []
        spent, self._spent = self._spent, []
        return [op.Forget(op.FORGET, tuple(spent))]


class Call(NamedTuple):
    """One request."""

    caller: Caller
    entrance: Entrance
    protocol: int


async def time(call: Call, _: Message) -> Json:
    """Tell the time of the log."""
    return {"timeMs": str(await call.caller.read(call.entrance, queries.Time()))}


async def try_claim(call: Call, message: Message) -> Json:
    """Claim a task if there is one."""
    claim = claim_of(message, call.caller.key())
    index, outcome = await call.caller.run(call.entrance, claim)
    rows = checked(outcome, index, Claimed).tasks
    return {"task": task_json(rows[0]) if rows else None}


async def claim(call: Call, message: Message) -> Json:
    """Claim a task, and wait for one as long as the caller stays.

    A node that stops answers nothing found, and refuses the next wait. A change of leader ends no wait: what became of the
    claim is asked under its key, and the next wait has a key of its own. While a key is remembered that got a task, and lost
    it since, it finds nothing, however many tasks come.
    """
    operation, wait_ms = claim_of(message, call.caller.key()), WAIT_MS
    loop, tries = asyncio.get_running_loop(), _Tries()
    give_up_at: float | None = None  # while there is no leader
    while True:
        index, outcome = await call.entrance.wait_claim(operation, wait_ms)
        if tries.leave_open(outcome) and outcome != STOPPING:
            give_up_at = give_up_at or loop.time() + PATIENCE_S
            if loop.time() < give_up_at:
                wait_ms = ASKING_MS
                await asyncio.sleep(PAUSE_S)
                continue
        rows = checked(tries.sum_up(outcome), index, Claimed).tasks
        call.caller.spend(operation.key)
        if rows:
            return {"task": task_json(rows[0])}
        give_up_at, tries = None, _Tries()
        operation, wait_ms = operation._replace(key=call.caller.key()), WAIT_MS


async def modify(call: Call, message: Message) -> Json:
    """Do one atomic set over tasks and docs."""
    entrance = call.entrance
    operation = Building(entrance, call.protocol).modify(message, call.caller.key())
    index, outcome = await call.caller.run(entrance, operation)
    done = _done(outcome, index, Transacted, operation, call.protocol)
    parts = operation.docs
    changed = zip(done.docs_changed, parts.changes, strict=True)
    return {
        "inserted": [
            task_json(row._replace(value=part.value))
            for row, part in zip(done.inserted, operation.inserts, strict=True)
        ],
        "changed": tasks_json(await _with_values(call, done.changed, operation.changes)),
        "insertedDocs": docs_json(
            row._replace(value=part.value)
            for row, part in zip(done.docs_inserted, parts.inserts, strict=True)
        ),
        "changedDocs": docs_json(row._replace(value=part.value) for row, part in changed)
        + [set_json(row) for row in done.sets],
    }


async def _with_values(
    call: Call, rows: Sequence[TaskRow], changes: Sequence[op.Change]
) -> list[TaskRow]:
    """Give changed tasks their values, which a repeated answer has not: a worker goes on with them."""
    filled = [
        row if part.value is None else row._replace(value=part.value)
        for row, part in zip(rows, changes, strict=True)
    ]
    bare = tuple(
        row.id
        for row, part in zip(rows, changes, strict=True)
        if part.value is None and not row.value
    )
    if not bare:
        return filled
    query = queries.Tasks("", "", bare, len(bare), omit_values=False)
    try:
        found = await call.caller.read(call.entrance, query)
    except Refusal:  # what is done is done: its answer must not look like a failure
        return filled
    now = {row.id: row for row in found}
    return [
        row._replace(value=now[row.id].value, kind=now[row.id].kind)
        if row.id in now and now[row.id].version == row.version
        else row
        for row in filled
    ]


async def tasks(call: Call, message: Message) -> Json:
    """List tasks of a queue, or of ids."""
    return {"tasks": await written(await listed_tasks(call, message), task_json)}


async def listed_tasks(call: Call, message: Message) -> list[Any]:
    """Give the rows of a listing. A claimant sees what it holds and what nobody holds now."""
    queue, ids, claimant = message["queue"], tuple(message["task_id"]), message["claimant_id"]
    if not queue and not ids:
        return []
    limit = _limit_of(message)
    asked = LISTED_MAX if claimant else limit
    query = queries.Tasks(queue, "", ids, asked, message["omit_values"])
    rows = await call.caller.read(call.entrance, query)
    if claimant:
        now_ms = await call.caller.read(call.entrance, queries.Time())
        rows = [row for row in rows if row.claimant in ("", claimant) or row.at <= now_ms][:limit]
    check_listing(rows, call.entrance.limits)
    found: list[Any] = rows
    return found


async def queue_stats(call: Call, message: Message) -> Json:
    """Count what is in queues; ``/queues`` has the same fields, more than it has there."""
    query = queries.Queues(*_matching(message))
    stats = await call.caller.read(call.entrance, query)
    return {"queues": [queue_json(row) for row in stats]}


async def docs(call: Call, message: Message) -> Json:
    """List docs of a namespace."""
    query = message["query"]
    if query is None or not query["namespace"]:
        raise Refusal("invalid", "docs: docs query must name a namespace", field="query.namespace")
    check_namespace(query["namespace"])
    limit = _limit_of(query)
    ids = tuple(query["ids"])
    asked = queries.Docs(
        query["namespace"], ids, query["key_exact"] or None, query["key_start"], query["key_end"],
        len(ids) or limit, query["omit_values"],
    )  # fmt: skip
    rows = await call.caller.read(call.entrance, asked)
    check_listing(rows, call.entrance.limits)
    return {"docs": await written(rows, doc_json)}


async def claim_docs(call: Call, message: Message) -> Json:
    """Hold sets of docs, all or none."""
    query = message["claim_query"]
    if query is None:
        raise Refusal("invalid", "there is no claimQuery", field="claimQuery")
    operation = claim_docs_of(query, call.protocol, call.caller.key())
    index, outcome = await call.caller.run(call.entrance, operation)
    try:
        claimed = _done(outcome, index, DocsClaimed, operation, call.protocol)
    except DependencyRefused as refused:
        refused.details += await _members(call, refused.refusal)
        raise
    reply: Json = {"docs": docs_json(claimed.docs)}
    if call.protocol > 1:
        reply["sets"] = [set_json(row) for row in claimed.sets]
    return reply


async def namespace_stats(call: Call, message: Message) -> Json:
    """Count docs in namespaces."""
    query = queries.Namespaces(*_matching(message))
    stats = await call.caller.read(call.entrance, query)
    return {"namespaces": [namespace_json(row) for row in stats]}


def _matching(message: Message) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    return tuple(message["match_prefix"]), tuple(message["match_exact"]), _limit_of(message)


def _limit_of(message: Message) -> int:
    limit: int = message["limit"]
    return min(limit, LISTED_MAX) if limit > 0 else LISTED_MAX


async def written(rows: Sequence[Any], write: Callable[[Any], Json]) -> list[Raw]:
    """Write many rows as JSON, some at a time: a long listing must not hold the node."""
    found: list[Raw] = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        found += [Raw(encode(write(row), "json")) for row in rows[start : start + ROWS_AT_ONCE]]
        await asyncio.sleep(0)
    return found


def _done(outcome: Outcome, index: int, type_: Any, operation: Any, protocol: int) -> Any:
    try:
        return checked(outcome, index, type_)
    except Refusal as refusal:
        details = details_of(refusal, operation, protocol)
        if details:
            raise DependencyRefused(refusal, details) from None
        raise


async def _members(call: Call, refusal: Refusal) -> list[Json]:
    """Name the docs of held sets too, where they may be read: clients of protocol 1 know no others."""
    details: list[Json] = []
    for part in refusal.failed:
        if not isinstance(part, FailedDoc):
            continue
        left = MEMBERS_NAMED_MAX - len(details)
        asked = queries.Docs(part.namespace, (), part.key, "", "", left, True)
        try:
            rows = (await call.entrance.read(asked)).value if left else ()
        except Refusal:  # forbidden, or nobody leads: what was refused is told anyway
            continue
        details += [
            {
                "type": "CLAIM",
                "docId": {"namespace": row.namespace, "id": row.id, "version": row.version},
            }
            for row in rows
        ]
    return details


Do: TypeAlias = Callable[[Call, Message], Awaitable[Json]]


class Method(NamedTuple):
    """One method of the service ``api.EntroQ``."""

    table: Table
    do: Do


METHODS: Final[dict[str, Method]] = {
    "TryClaim": Method(messages.CLAIM, try_claim),
    "Claim": Method(messages.CLAIM, claim),
    "Modify": Method(messages.MODIFY, modify),
    "Tasks": Method(messages.TASKS, tasks),
    "Queues": Method(messages.QUEUES, queue_stats),
    "QueueStats": Method(messages.QUEUES, queue_stats),
    "Time": Method(messages.TIME, time),
    "Docs": Method(messages.DOCS, docs),
    "ClaimDocs": Method(messages.CLAIM_DOCS, claim_docs),
    "NamespaceStats": Method(messages.QUEUES, namespace_stats),
}
