"""What a cluster does with documents, said in the fewest words: no log, no speed, one dictionary.

Every verb of the wire, with the refusals of a node. Time is an argument. Source: ``docs/http.md``;
``tests/conformance`` compares it with the nodes' own state machine.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal

from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import asdict, replace

from raftq.errors import (
    ChangeRefused,
    DependencyError,
    InvalidRequest,
    NotFound,
    RaftqError,
    TooLarge,
)
from raftq.testing.model_docs import (
    DocModel,
    check_docs,
    check_namespaces,
    count_docs,
    refuse_repeated_docs,
)
from raftq.testing.settings import SettingsTable
from raftq.wire import documents as wire
from raftq.wire.docs import ClaimDocsReply, ClaimDocsRequest
from raftq.wire.verification import VerifyReply

PARTS_MAX: Final = 1_000
KEY_WINDOW_MS: Final = 300_000  # how long the answer to a key is kept


class Model:
    """All tasks, docs, settings and idempotency keys."""

    def __init__(self, seed: int) -> None:
        self.index = 0
        self._now = 0
        self._tasks: dict[str, wire.Task] = {}  # in the order of insertion
        self._docs = DocModel()
        self._settings = SettingsTable()
        self._keys: dict[str, tuple[int, Any, wire.Reply | RaftqError]] = {}  # with their ends
        self._random = random.Random(seed)  # noqa: S311 - chooses tasks, guards nothing
        self._ids = 0
        self._verbs: dict[str, Callable[[Any], wire.Reply]] = {
            "claim": self._claim,
            "modify": self._modify,
            "renew": self._renew,
            "configure": self._configure,
            "forget": self._forget,
            "queues": self._list_queues,
            "tasks": self._list_tasks,
            "task": self._task,
            "settings": lambda _: wire.SettingsReply(settings=self._settings.rows()),
            "time": lambda _: wire.TimeReply(now=self._now),
            "cluster": self._cluster,
            "verify": lambda _: VerifyReply(entry=self.index, members=[]),
            **dict.fromkeys(_MEMBER_CHANGES, _refuse_change),
            "claim_docs": self._claim_docs,
            "docs": self._docs.list_docs,
            "namespaces": self._docs.count,
        }

    def call(self, verb: str, document: Any, now_ms: int) -> wire.Reply:
        """Do what a document asks for, once for each idempotency key.

        Raises:
            RaftqError: refused, as a node would.
        """
        self._now = max(self._now, now_ms)
        self._docs.pass_time(self._now)
        if verb in _CHECKS:
            _CHECKS[verb](document)
        key = getattr(document, "idempotency_key", "")
        if not key:
            return self._verbs[verb](document)
        mark = {**asdict(document), "wait_ms": 0, "idempotency_key": ""}
        if key not in self._keys or self._keys[key][0] <= self._now:
            self.index += 1
            outcome = self._outcome(verb, document)
            if isinstance(outcome, wire.ClaimReply) and not outcome.tasks:
                return outcome  # an empty claim did nothing; its retry may find a task
            self._keys[key] = (self._now + KEY_WINDOW_MS, mark, outcome)
        _, known, outcome = self._keys[key]
        if known != mark:
            raise InvalidRequest(
                "the key was used for another request", code="idempotency_key_reused"
            )
        if isinstance(outcome, RaftqError):
            raise outcome
        if isinstance(outcome, wire.ClaimReply):  # of them, those that nobody has changed since
            still = [task for task in outcome.tasks if self._is_current(task)]
            return wire.ClaimReply(tasks=still, gone=UNSET if still else True)
        if isinstance(outcome, ClaimDocsReply):
            return self._docs.told_again(outcome)
        return outcome

    def _is_current(self, task: wire.Task) -> bool:
        now = self._tasks.get(task.id)
        return now is not None and now.version == task.version

    def _outcome(self, verb: str, document: Any) -> wire.Reply | RaftqError:
        """Give the reply or the refusal: both are remembered."""
        try:
            return self._verbs[verb](document)
        except RaftqError as refusal:
            return refusal

    def next_arrival_ms(self) -> int | None:
        """Tell when the next task arrives that has not; None: there is none."""
        return min((task.at for task in self._tasks.values() if task.at > self._now), default=None)

    # --- claim and renew ----------------------------------------------------------------------

    def _claim(self, document: wire.ClaimRequest) -> wire.ClaimReply:
        taken: list[wire.Task] = []
        while len(taken) < document.limit:
            ready = {name: self._ready(name) for name in dict.fromkeys(document.queues)}
            names = [name for name, tasks in ready.items() if tasks]
            if not names:
                break
            name = self._random.choice(names)
            task = self._choose(name, ready[name])
            taken.append(
                self._hold(task, document.claimant, document.lease_ms, claims=task.claims + 1)
            )
        return wire.ClaimReply(tasks=taken)

    def _ready(self, queue: str) -> list[wire.Task]:
        if self._settings.of(queue).paused:
            return []
        return [
            task for task in self._tasks.values() if task.queue == queue and task.at <= self._now
        ]

    def _choose(self, queue: str, ready: list[wire.Task]) -> wire.Task:
        order = self._settings.of(queue).order
        if order == "fifo":
            return ready[0]
        if order == "priority":
            return max(ready, key=lambda task: task.priority)  # the first of equals
        return self._random.choice(ready)

    def _hold(self, task: wire.Task, claimant: str, lease_ms: int, **fields: int) -> wire.Task:
        lease_ms = self._settings.of(task.queue).granted_ms(lease_ms)
        return self._put(task, at=self._now + lease_ms, claimant=claimant, **fields)

    def _put(self, task: wire.Task, **fields: Any) -> wire.Task:
        """Store the next version of a task."""
        new = replace(task, version=task.version + 1, modified=self._now, **fields)
        self._tasks[task.id] = new
        return new

    def _renew(self, document: wire.RenewRequest) -> wire.RenewReply:
        renewed: list[wire.Task] = []
        lost: list[wire.Lost] = []
        for target in document.tasks:
            reason = self._why_not(target, document.claimant)
            if reason is not None:
                lost.append(wire.Lost(id=target.id, reason=reason))
                continue
            task = self._tasks[target.id]
            renewed.append(_bare(self._hold(task, document.claimant, document.lease_ms)))
        return wire.RenewReply(renewed=renewed, lost=lost)

    def _why_not(
        self, target: wire.Target, claimant: str
    ) -> Literal["missing", "version", "claimed"] | None:
        task = self._tasks.get(target.id)
        if task is None:
            return "missing"
        if task.version != target.version:
            return "version"
        return None if task.claimant == claimant else "claimed"

    # --- modify -------------------------------------------------------------------------------

    def _modify(self, document: wire.ModifyRequest) -> wire.ModifyReply:
        _refuse_repeated_ids(document)
        refuse_repeated_docs(document)
        failed = [*self._failed_parts(document), *self._docs.failed_parts(document)]
        if failed:
            raise DependencyError(f"{len(failed)} parts do not hold", failed=failed)
        before, docs_before = dict(self._tasks), self._docs.saved()
        for target in document.deletes:
            del self._tasks[target.id]
        changed = [self._changed(change, document.claimant) for change in document.changes]
        inserted = [self._inserted(insert) for insert in document.inserts]
        docs = self._docs.write(document, self._new_id)
        if document.dry_run:
            self._tasks = before
            self._docs.restore(docs_before)
        return wire.ModifyReply(
            inserted=[_bare(task) for task in inserted],
            changed=[_bare(task) for task in changed],
            docs_inserted=docs.inserted,
            docs_changed=docs.changed,
            doc_sets=docs.sets,
        )

    def _failed_parts(self, document: wire.ModifyRequest) -> Iterator[wire.FailedPart]:
        for index, insert in enumerate(document.inserts):
            if insert.id is not UNSET and insert.id in self._tasks:
                task = self._tasks[insert.id]
                yield wire.FailedPart(
                    part="insert", index=index, id=task.id, reason="exists", version=task.version
                )
        yield from self._failed("change", document.changes, document.claimant)
        yield from self._failed("delete", document.deletes, document.claimant)
        yield from self._failed("depend", document.depends, document.claimant)

    def _failed(
        self,
        part: Literal["change", "delete", "depend"],
        items: Iterable[wire.Change | wire.Target],
        claimant: str,
    ) -> Iterator[wire.FailedPart]:
        for index, item in enumerate(items):
            task = self._tasks.get(item.id)
            if task is None:
                yield wire.FailedPart(part=part, index=index, id=item.id, reason="missing")
            elif task.version != item.version:
                yield wire.FailedPart(
                    part=part, index=index, id=item.id, reason="version", version=task.version
                )
            elif part != "depend" and self._is_held(task) and task.claimant != claimant:
                yield wire.FailedPart(
                    part=part,
                    index=index,
                    id=item.id,
                    reason="claimed",
                    version=task.version,
                    claimant=task.claimant,
                    until=task.at,
                )

    def _is_held(self, task: wire.Task) -> bool:
        return bool(task.claimant) and task.at > self._now

    def _changed(self, change: wire.Change, claimant: str) -> wire.Task:
        fields = {
            name: given
            for name in ("queue", "attempt", "priority", "err")
            if (given := getattr(change, name)) is not UNSET
        }
        if change.value is not UNSET or change.value_b64 is not UNSET:
            fields |= {"value": change.value, "value_b64": change.value_b64}
        if change.at is not UNSET or change.delay_ms is not UNSET:
            fields |= {"at": self._arrival(change.at, change.delay_ms), "claimant": ""}
        if change.lease_ms is not UNSET:
            fields |= {"at": self._now + change.lease_ms, "claimant": claimant}
        if change.reset_claims:
            fields["claims"] = 0
        return self._put(self._tasks[change.id], **fields)

    def _inserted(self, insert: wire.Insert) -> wire.Task:
        no_value = insert.value is UNSET and insert.value_b64 is UNSET
        task = wire.Task(
            id=self._new_id() if insert.id is UNSET else insert.id,
            version=0,
            queue=insert.queue,
            at=self._arrival(insert.at, insert.delay_ms),
            attempt=insert.attempt,
            priority=insert.priority,
            err=insert.err,
            created=self._now,
            modified=self._now,
            value=Raw(b"null") if no_value else insert.value,
            value_b64=insert.value_b64,
        )
        self._tasks[task.id] = task
        return task

    def _arrival(self, at: int | UnsetType, delay_ms: int | UnsetType) -> int:
        if at is not UNSET:
            return max(at, self._now)
        return self._now + (0 if delay_ms is UNSET else delay_ms)

    def _new_id(self) -> str:
        self._ids += 1
        return f"memory.{self._ids}"

    def _claim_docs(self, document: ClaimDocsRequest) -> ClaimDocsReply:
        named = document.task
        task = None if isinstance(named, UnsetType) else self._tasks.get(named.id)
        namespaces = [item.namespace for item in document.sets]
        return self._docs.claim(
            document, task, self._settings.granted_ms(namespaces, document.lease_ms)
        )

    # --- settings, keys, questions ------------------------------------------------------------

    def _configure(self, document: wire.ConfigureRequest) -> wire.ConfigureReply:
        self._settings.put(document)
        return wire.ConfigureReply()

    def _forget(self, document: wire.ForgetRequest) -> wire.ForgetReply:
        for key in document.keys:
            self._keys.pop(key, None)
        return wire.ForgetReply()

    def _list_queues(self, document: wire.QueuesRequest) -> wire.QueuesReply:
        every = not document.prefix and not document.exact
        names = sorted(
            name
            for name in {task.queue for task in self._tasks.values()}
            if every or name in document.exact or name.startswith(tuple(document.prefix))
        )
        return wire.QueuesReply(queues=[self._queue(name) for name in names[: document.limit]])

    def _queue(self, name: str) -> wire.Queue:
        tasks = [task for task in self._tasks.values() if task.queue == name]
        ready = [task for task in tasks if task.at <= self._now]
        claimed = [task for task in tasks if self._is_held(task)]
        settings = self._settings.of(name)
        return wire.Queue(
            name=name,
            tasks=len(tasks),
            ready=len(ready),
            claimed=len(claimed),
            delayed=len(tasks) - len(ready) - len(claimed),
            max_claims=max(task.claims for task in tasks),
            oldest_ready_at=min((task.at for task in ready), default=None),
            order=settings.order,
            paused=settings.paused,
        )

    def _list_tasks(self, document: wire.TasksRequest) -> wire.TasksReply:
        if not document.queue and not document.id:
            raise InvalidRequest("queue or id must be given")
        found = (
            [self._tasks[id_] for id_ in document.id if id_ in self._tasks]
            if document.id
            else list(self._tasks.values())
        )
        matching = [
            task
            for task in found
            if document.queue in ("", task.queue)
            and (not document.claimant or self._is_held_by(task, document.claimant))
        ][: document.limit]
        if document.omit_values:
            matching = [_bare(task) for task in matching]
        return wire.TasksReply(tasks=matching)

    def _is_held_by(self, task: wire.Task, claimant: str) -> bool:
        return task.claimant == claimant and self._is_held(task)

    def _task(self, document: wire.TaskRequest) -> wire.Task:
        if document.id not in self._tasks:
            raise NotFound(f"there is no task {document.id}")
        return self._tasks[document.id]

    def _cluster(self, _: wire.ClusterRequest) -> wire.ClusterReply:
        return wire.ClusterReply(
            cluster_id="memory",
            node="memory",
            backend="memory",
            durability="memory",
            term=1,
            leader="memory",
            index=self.index,
            members=[],
        )


# What a cluster in memory, which has no members, refuses.
_MEMBER_CHANGES: Final = (
    "add_member", "remove_member", "promote_member", "replace_member", "transfer",
)  # fmt: skip


def _refuse_change(_: wire.Document) -> wire.Reply:
    raise ChangeRefused("a cluster in memory has no other members")


def _bare(task: wire.Task) -> wire.Task:
    """Give a task as answers that leave out the value do."""
    return replace(task, value=UNSET, value_b64=UNSET)


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if not name.isprintable() or " " in name:
            raise InvalidRequest("a queue's name has a space or a control character")


def _check_parts(document: wire.ModifyRequest) -> None:
    check_docs(document)
    _check_names(insert.queue for insert in document.inserts)
    _check_names(change.queue for change in document.changes if change.queue is not UNSET)
    parts = len(document.inserts) + len(document.changes)
    parts += len(document.deletes) + len(document.depends) + count_docs(document)
    if not parts:
        raise InvalidRequest("a modification needs at least one part")
    if parts > PARTS_MAX:
        raise TooLarge(f"{parts} parts: the limit operations_max is {PARTS_MAX}")


def _refuse_repeated_ids(document: wire.ModifyRequest) -> None:
    named: list[wire.Change | wire.Target] = [*document.changes, *document.deletes]
    ids = [item.id for item in (*named, *document.depends)]
    ids += [insert.id for insert in document.inserts if insert.id is not UNSET]
    if len(set(ids)) != len(ids):
        raise InvalidRequest("an id stands in more than one part of the modification")


# What a node refuses before it looks at the idempotency key.
_CHECKS: Final[dict[str, Callable[[Any], None]]] = {
    "claim": lambda document: _check_names(document.queues),
    "modify": _check_parts,
    "configure": lambda document: _check_names([document.pattern]),
    "claim_docs": lambda document: check_namespaces(item.namespace for item in document.sets),
}
