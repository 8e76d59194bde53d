"""The double and a node do the same with anything that clients may ask, in any order."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.support.deployments import DEPLOYMENTS, Cluster

from raftq import (
    AsyncClient,
    Change,
    Doc,
    DocChange,
    DocInsert,
    DocSet,
    DocTarget,
    Insert,
    RaftqError,
    Target,
    Task,
)
from raftq.errors import DependencyError

IDS = st.sampled_from(["t0", "t1", "t2", "t3"])
QUEUES = st.sampled_from(["a", "b"])
WHO = st.sampled_from(["me", "you"])
STALE = st.sampled_from([0, 0, 0, 1])  # how far a version is off
MS = st.sampled_from([0, 1, 1_000, 5_000])
PAUSES = st.sampled_from([0, 1, 1_000, 5_000, 300_000])  # the last outlives keys and locks of sets
KEYS = st.sampled_from(["", "", "k1", "k2"])

Step = tuple[Any, ...]
ARRIVALS = st.sampled_from(
    [{}, {"delay_ms": 0}, {"delay_ms": 1_000}, {"lease_ms": 1_000}, {"at": 9}]
)
CHANGES = st.tuples(IDS, STALE, ARRIVALS, st.sampled_from([{}, {"queue": "b"}, {"value": b"\x00"}]))
TARGETS = st.tuples(IDS, STALE)
DOC_IDS = st.sampled_from(["d0", "d1", "d2"])
DOC_KEYS = st.sampled_from(["", "k", "l"])
LEASES = st.sampled_from([0, 0, 1_000, 400_000])
DOC_PARTS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), DOC_IDS, DOC_KEYS, LEASES),
        st.tuples(st.just("insert"), DOC_IDS, DOC_KEYS, LEASES),
        st.tuples(st.just("change"), DOC_IDS, STALE, LEASES, st.booleans()),
        st.tuples(st.just("delete"), DOC_IDS, STALE),
        st.tuples(st.just("depend"), DOC_IDS, STALE),
        st.tuples(st.just("depend_set"), DOC_KEYS, STALE),
        st.tuples(st.just("lease"), DOC_KEYS, STALE, LEASES),
    ),
    min_size=1,
    max_size=3,
)
SETS = st.lists(DOC_KEYS, min_size=1, max_size=2)
STEPS = st.one_of(
    st.tuples(st.just("write_docs"), WHO, KEYS, DOC_PARTS, st.booleans()),
    st.tuples(st.just("claim_docs"), WHO, KEYS, SETS, st.booleans(), st.none() | TARGETS),
    st.tuples(
        st.just("modify"),
        WHO,
        KEYS,
        st.lists(st.tuples(QUEUES, IDS, MS), max_size=2),
        st.lists(CHANGES, max_size=2),
        st.lists(TARGETS, max_size=1),
        st.lists(TARGETS, max_size=1),
        st.booleans(),
    ),
    st.tuples(st.just("put"), WHO, QUEUES, IDS, MS),
    st.tuples(st.just("claim"), WHO, KEYS, QUEUES, st.integers(1, 3)),
    st.tuples(st.just("renew"), WHO, KEYS, st.lists(TARGETS, min_size=1, max_size=3)),
    st.tuples(st.just("configure"), WHO, QUEUES, st.sampled_from([True, None])),
    st.tuples(st.just("pass"), PAUSES),
)


def shown(task: Task | Doc) -> dict[str, Any]:
    """Every field, so that a difference can be seen."""
    return {**msgspec.structs.asdict(task), "value_json": task.value}


class Run:
    """Takes steps in one deployment, and writes down what came of each."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.clients = {who: cluster.client(who) for who in ("me", "you")}
        self.versions: dict[str, int] = {}
        self.sets: dict[str, DocSet] = {}  # by key
        self.keys: dict[str, str] = {}  # of docs, by id
        self.log: list[Any] = []

    async def take(self, step: Step) -> None:
        verb, *arguments = step
        if verb == "pass":
            await self.cluster.pass_time(arguments[0])
            return
        client = self.clients[arguments[0]]
        action: Callable[..., Coroutine[Any, Any, Any]] = getattr(self, verb)
        try:
            self.log.append(await action(client, *arguments[1:]))
        except DependencyError as error:
            self.log.append([msgspec.structs.astuple(part) for part in error.failed])
        except RaftqError as error:
            self.log.append((type(error).__name__, error.code))

    def seen(self, tasks: list[Task]) -> list[dict[str, Any]]:
        for task in tasks:
            self.versions[task.id] = task.version
        return [shown(task) for task in tasks]

    def target(self, id_: str, stale: int) -> Target:
        return Target(id_, self.versions.get(id_, 0) + stale)

    async def put(self, client: AsyncClient, queue: str, id_: str, delay_ms: int) -> Any:
        return self.seen([await client.put(queue, {"id": id_}, id=id_, delay_ms=delay_ms)])

    async def modify(self, client, key, inserts, changes, deletes, depends, dry_run) -> Any:
        modified = await client.modify(
            inserts=[Insert(queue, id=id_, delay_ms=ms) for queue, id_, ms in inserts],
            changes=[
                Change(**self.target(id_, stale)._asdict(), **arrival, **fields)
                for id_, stale, arrival, fields in changes
            ],
            deletes=[self.target(*target) for target in deletes],
            depends=[self.target(*target) for target in depends],
            dry_run=dry_run,
            idempotency_key=key,
        )
        if dry_run:
            return [  # its times are those of the last entry of the log
                shown(task) | {"at": 0, "created": 0, "modified": 0}
                for task in modified.inserted + modified.changed
            ]
        return self.seen(modified.inserted + modified.changed)

    async def write_docs(self, client, key, parts, dry_run) -> Any:
        made: dict[str, list[Any]] = {}
        for kind, name, *fields in parts:
            part = getattr(self, f"doc_{kind}")(name, *fields)
            made.setdefault("doc_depends" if kind == "depend_set" else f"doc_{kind}s", []).append(
                part
            )
        written = await client.modify(**made, dry_run=dry_run, idempotency_key=key)
        rows = [shown(doc) for doc in written.docs_inserted + written.docs_changed]
        if dry_run:  # its times are those of the last entry of the log
            return [row | {"at": 0, "created": 0, "modified": 0} for row in rows]
        for doc in written.docs_inserted + written.docs_changed:
            self.keys[doc.id] = doc.key
            self.sets[doc.key] = DocSet(namespace="/ns", key=doc.key, version=doc.version)
        self.sets |= {row.key: row for row in written.doc_sets}
        return rows, written.doc_sets

    def doc_insert(self, id_: str, key: str, lease_ms: int) -> DocInsert:
        return DocInsert("/ns", key, {"id": id_}, id=id_, secondary_key=id_, lease_ms=lease_ms)

    def doc_change(self, id_: str, stale: int, lease_ms: int, has_value: bool) -> DocChange:
        fields = {"value": b"new"} if has_value else {}
        return DocChange("/ns", id_, self.doc_version(id_, stale), lease_ms=lease_ms, **fields)

    def doc_delete(self, id_: str, stale: int) -> DocTarget:
        return DocTarget("/ns", id_, self.doc_version(id_, stale))

    doc_depend = doc_delete

    def doc_depend_set(self, key: str, stale: int) -> Any:
        return self.set_of(key, stale).depend()

    def doc_lease(self, key: str, stale: int, lease_ms: int) -> Any:
        return self.set_of(key, stale).lease(lease_ms)

    def doc_version(self, id_: str, stale: int) -> int:
        return self.set_of(self.keys.get(id_, ""), stale).version

    def set_of(self, key: str, stale: int) -> DocSet:
        version = self.sets[key].version if key in self.sets else 0
        return DocSet(namespace="/ns", key=key, version=version + stale)

    async def claim_docs(self, client, key, keys, omit_docs, task) -> Any:
        claimed = await client.claim_docs(
            *[("/ns", name) for name in keys],
            lease_ms=2_000,
            omit_docs=omit_docs,
            task=None if task is None else self.target(*task),
            idempotency_key=key,
        )
        self.sets |= {row.key: row for row in claimed.sets}
        return claimed.sets, [shown(doc) for doc in claimed.docs]

    async def claim(self, client: AsyncClient, key: str, queue: str, limit: int) -> Any:
        tasks = await client.claim(queue, lease_ms=2_000, limit=limit, idempotency_key=key)
        return self.seen(tasks)

    async def renew(self, client: AsyncClient, key: str, targets: list[Any]) -> Any:
        asked = [self.target(*target) for target in targets]
        renewed = await client.renew(asked, 3_000, idempotency_key=key)
        return (self.seen(renewed.renewed), [(lost.id, lost.reason) for lost in renewed.lost])

    async def configure(self, client: AsyncClient, queue: str, paused: bool | None) -> Any:
        await client.configure(queue, paused=paused, order="fifo")

    async def end(self) -> None:
        client = self.clients["me"]
        for queue in ("a", "b"):
            tasks = await client.tasks(queue)
            self.log.append(sorted((shown(task) for task in tasks), key=lambda task: task["id"]))
        for queue in await client.queues():
            queue.oldest_ready_at = None  # a node knows it to about a second
            self.log.append(queue)
        self.log.append(await client.settings())
        self.log.append([shown(doc) for doc in await client.docs("/ns")])
        self.log.append([shown(doc) for doc in await client.docs("/ns", key_start="k", limit=1)])
        self.log.append(await client.namespaces())


async def log_of(deployment: str, steps: list[Step]) -> list[Any]:
    async with DEPLOYMENTS[deployment]() as cluster:
        run = Run(cluster)
        await run.clients["me"].configure("*", order="fifo")  # chance would not be the same
        for step in steps:
            await run.take(step)
        await run.end()
        return run.log


@given(st.lists(STEPS, max_size=25))
def test_the_double_and_a_node_answer_alike(steps):
    double = asyncio.run(log_of("double", steps))
    node = asyncio.run(log_of("text", steps))
    assert double == node
