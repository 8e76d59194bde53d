"""The client: claim, modify, renew and the questions, and what is built out of them.

This is the one core; :class:`raftq.Client` is its synchronous face. Knows documents; not how they reach a
node, nor how calls are retried.
"""

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final, Literal, Self, TypeVar

from msgspec import UNSET

from raftq.caller import Caller
from raftq.clock import SYSTEM_CLOCK, Clock
from raftq.credentials import Credentials
from raftq.doc_calls import DocCalls
from raftq.docs import Doc, DocChange, DocInsert, DocTarget, add_docs, with_doc_value
from raftq.errors import ProtocolError
from raftq.identity import default_claimant
from raftq.requests import change_document, insert_document
from raftq.tasks import (
    Change,
    Insert,
    Modified,
    Renewed,
    Target,
    Task,
    TaskList,
    versions_of,
    with_value,
)
from raftq.transport.api import Transport
from raftq.transport.failover import BODY_BYTES_MAX
from raftq.transport.opening import open_transport
from raftq.values import VALUE_BYTES_MAX
from raftq.wire import documents, membership, verification
from raftq.wire.documents import ClusterReply, DocDepend, DocLease, Order, Queue, Settings
from raftq.wire.formats import encode

R = TypeVar("R")

TIMEOUT_S: Final = 30.0  # of a call with all its retries: outlives an election by far
PARTS_MAX: Final = 1_000  # of one modification; what a node accepts unless its flags say otherwise
IDS_PER_REQUEST: Final = 64  # of a listing by ids: they must fit into the line of an HTTP request
_ENVELOPE_BYTES: Final = 1024  # of a modification around its parts
POLL_S_FIRST: Final = 0.05  # of waiting for empty queues: doubled up to POLL_S_MAX
POLL_S_MAX: Final = 2.0


class AsyncClient(DocCalls):
    """A client for one event loop. Connects at its first call; any number of calls may be in flight.

    Args:
        urls: ``raftq://HOST:PORT[,HOST:PORT]`` (faster) or ``http://HOST:PORT[,…]``; by default
            ``RAFTQ_URL``, or a node on this machine. Several addresses are one cluster: the next is
            used when one fails. ``raftqs://`` and ``https://`` are the same with TLS.
        credentials: a token, an authority, a certificate; see :class:`raftq.Credentials` for what
            the environment gives where nothing is said.
        claimant: who holds what this client claims; by default a name of its own, by chance.
        timeout_s: of one call with all its retries, beyond the time it asks to wait for a task.
        value_bytes_max: values above it are refused before they are sent.
        transport: carries the calls instead of ``urls``.
        clock: of waits for tasks and between polls.

    Every method raises the errors of :mod:`raftq.errors`; what is retryable has been retried,
    with one idempotency key, until ``timeout_s``. Give ``idempotency_key`` only to repeat a
    call that ended in :class:`~raftq.errors.OutcomeUnknown`, with the same arguments.
    """

    def __init__(
        self,
        urls: str | Sequence[str] | None = None,
        *,
        credentials: Credentials | None = None,
        claimant: str | None = None,
        timeout_s: float = TIMEOUT_S,
        value_bytes_max: int = VALUE_BYTES_MAX,
        transport: Transport | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if not (urls is None or isinstance(urls, str)):
            urls = ",".join(urls)
        self.claimant = claimant or default_claimant()
        self.clock = clock
        self._value_bytes_max = value_bytes_max
        transport = transport or open_transport(urls, BODY_BYTES_MAX, credentials=credentials)
        self._caller = Caller(transport, timeout_s, self._give_back, clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls in flight fail. Idempotent."""
        await self._caller.close()

    @property
    def last_index(self) -> int:
        """The highest log index that an answer to this client reflected; 0: none told."""
        return self._caller.last_index

    # --- claim, modify, renew -----------------------------------------------------------------

    async def claim(
        self,
        *queues: str,
        lease_ms: int = 30_000,
        wait_ms: int = 0,
        limit: int = 1,
        idempotency_key: str = "",
    ) -> list[Task]:
        """Take up to ``limit`` arrived tasks, chosen at random, from any of ``queues``.

        They are this client's for ``lease_ms`` (1 ms to 7 days); then whoever claims them. If there
        is none, wait up to ``wait_ms`` for one. Gives an empty list after that; at once if all
        that ``idempotency_key`` got before is others' by now, or done.
        """
        request = documents.ClaimRequest(
            queues=list(queues),
            claimant=self.claimant,
            lease_ms=lease_ms,
            wait_ms=wait_ms,
            limit=limit,
        )
        return await self._caller.claim(request, idempotency_key)

    async def modify(  # noqa: PLR0913 - the lists of a modification
        self,
        *,
        inserts: Iterable[Insert] = (),
        changes: Iterable[Change] = (),
        deletes: Iterable[Task | Target] = (),
        depends: Iterable[Task | Target] = (),
        doc_inserts: Iterable[DocInsert] = (),
        doc_changes: Iterable[DocChange] = (),
        doc_deletes: Iterable[Doc | DocTarget] = (),
        doc_depends: Iterable[Doc | DocTarget | DocDepend] = (),
        doc_leases: Iterable[DocLease] = (),
        dry_run: bool = False,
        idempotency_key: str = "",
    ) -> Modified:
        """Do one atomic set over tasks and docs: all of it happens or none of it.

        Changes, deletes and depends name versions (:meth:`Task.change`; a task stands for itself);
        an id may stand in one part only. With ``dry_run`` tell what would happen and do nothing.

        Raises:
            DependencyError: some parts do not hold; ``failed`` has all of them.
        """
        changes = list(changes)
        request = documents.ModifyRequest(
            claimant=self.claimant,
            inserts=[insert_document(insert, self._value_bytes_max) for insert in inserts],
            changes=[change_document(change, self._value_bytes_max) for change in changes],
            deletes=versions_of(deletes),
            depends=versions_of(depends),
            dry_run=dry_run,
        )
        bytes_max = self._value_bytes_max
        add_docs(request, bytes_max, doc_inserts, doc_changes, doc_deletes, doc_depends, doc_leases)
        return await self._modify(request, changes, idempotency_key)

    async def renew(
        self, tasks: Iterable[Task | Target], lease_ms: int = 30_000, *, idempotency_key: str = ""
    ) -> Renewed:
        """Hold claimed tasks for ``lease_ms`` from now. Each stands or falls alone.

        Gives the new versions, in order, and those that this client holds no more.
        """
        tasks = list(tasks)
        request = documents.RenewRequest(
            tasks=versions_of(tasks), claimant=self.claimant, lease_ms=lease_ms
        )
        renewed = await self._caller.change("renew", request, Renewed, idempotency_key)
        known = {task.id: task for task in tasks if isinstance(task, Task)}
        renewed.renewed = [with_value(task, known.get(task.id, task)) for task in renewed.renewed]
        return renewed

    # --- questions ----------------------------------------------------------------------------

    async def queues(
        self,
        prefix: str | Iterable[str] = (),
        exact: str | Iterable[str] = (),
        limit: int = 1_000,
        *,
        stale: bool = False,
    ) -> list[Queue]:
        """Count what is in the queues of any such prefix or name; neither means all. Sorted.

        ``stale`` lets the node answer from what it has, without asking the leader.
        """
        request = documents.QueuesRequest(
            prefix=_listed(prefix),
            exact=_listed(exact),
            limit=limit,
            consistency=_consistency(stale),
        )
        return (await self._ask("queues", request, documents.QueuesReply)).queues

    async def tasks(
        self,
        queue: str = "",
        *,
        claimant: str = "",
        id: str | Iterable[str] = (),  # noqa: A002 - the field's name
        limit: int = 100,
        omit_values: bool = False,
        stale: bool = False,
    ) -> list[Task]:
        """List up to ``limit`` tasks of a queue, or those of some ids (in their order, absent ones left out).

        ``claimant`` keeps those that it holds under a live lease. Many ids are asked for in pieces.
        """
        ids = _listed(id)
        found: list[Task] = []
        for start in range(0, max(1, len(ids)), IDS_PER_REQUEST):
            request = documents.TasksRequest(
                queue=queue,
                claimant=claimant,
                id=ids[start : start + IDS_PER_REQUEST],
                limit=limit - len(found),
                omit_values=omit_values,
                consistency=_consistency(stale),
            )
            found += (await self._ask("tasks", request, TaskList)).tasks
            if len(found) >= limit:
                break
        return found

    async def task(self, id: str, *, stale: bool = False) -> Task:  # noqa: A002 - the field's name
        """Give one task.

        Raises:
            NotFound: there is none of this id.
        """
        request = documents.TaskRequest(id=id, consistency=_consistency(stale))
        return await self._ask("task", request, Task)

    async def time(self) -> int:
        """Tell the cluster's time, which arrival times and leases are measured by, in ms."""
        return (await self._ask("time", documents.TimeRequest(), documents.TimeReply)).now

    async def cluster(self) -> ClusterReply:
        """Tell about the cluster and its members, as the answering node sees them."""
        return await self._ask("cluster", documents.ClusterRequest(), ClusterReply)

    async def add_member(self, peer: str, *, voter: bool = True) -> ClusterReply:
        """Make the node that waits at ``peer`` (``HOST:PORT``) a member; see docs/cluster.md.

        Nodes that are started with ``--join`` and an address come in by themselves. This and the other
        changes of the cluster may be repeated; they are retried, and have no idempotency key.
        """
        request = membership.AddMemberRequest(peer=peer, voter=voter)
        return await self._ask("add_member", request, ClusterReply)

    async def remove_member(self, id: str) -> ClusterReply:  # noqa: A002 - the field's name
        """Let a member go, dead or alive.

        Raises:
            NotFound: there is none of this id (any more).
            ChangeRefused: the voters left could not reach a majority.
        """
        request = membership.RemoveMemberRequest(id=id)
        return await self._ask("remove_member", request, ClusterReply)

    async def promote_member(self, id: str) -> ClusterReply:  # noqa: A002 - the field's name
        """Let a learner vote."""
        request = membership.PromoteMemberRequest(id=id)
        return await self._ask("promote_member", request, ClusterReply)

    async def replace_member(self, id: str, by: str) -> ClusterReply:  # noqa: A002 - the field's name
        """Let ``by``, a member or the address of a node that waits, take a member's place.

        Raises:
            Unavailable: it has come in and is still catching up; the same call goes on.
        """
        request = membership.ReplaceMemberRequest(id=id, by=by)
        return await self._ask("replace_member", request, ClusterReply)

    async def transfer(self, to: str = "") -> ClusterReply:
        """Move the leadership to a voter, or away from the leader."""
        return await self._ask("transfer", membership.TransferRequest(to=to), ClusterReply)

    async def verify(self, entry: int = 0) -> verification.VerifyReply:
        """Have every node digest its whole state as of one log entry, and compare.

        ``entry`` 0 begins a verification. While a member of the answer is ``pending``, ask again with the
        answer's ``entry``.
        """
        request = verification.VerifyRequest(entry=entry)
        return await self._ask("verify", request, verification.VerifyReply)

    async def settings(self, *, stale: bool = False) -> list[Settings]:
        """List the settings of queues, by pattern."""
        request = documents.SettingsRequest(consistency=_consistency(stale))
        return (await self._ask("settings", request, documents.SettingsReply)).settings

    async def configure(
        self,
        pattern: str,
        *,
        order: Order | None = None,
        paused: bool | None = None,
        lease_ms: int | None = None,
        lease_ms_min: int | None = None,
        lease_ms_max: int | None = None,
        idempotency_key: str = "",
    ) -> None:
        """Replace the settings of the queues that match ``pattern``: a name, or a prefix and ``*``.

        What is left out is decided by less specific patterns; without any field the pattern is
        removed. ``lease_ms`` is for protocols that name no lease; ``lease_ms_min`` and ``lease_ms_max`` bound all.
        """
        request = documents.ConfigureRequest(
            pattern=pattern,
            order=UNSET if order is None else order,
            paused=UNSET if paused is None else paused,
            lease_ms=UNSET if lease_ms is None else lease_ms,
            lease_ms_min=UNSET if lease_ms_min is None else lease_ms_min,
            lease_ms_max=UNSET if lease_ms_max is None else lease_ms_max,
        )
        await self._caller.change("configure", request, documents.ConfigureReply, idempotency_key)

    # --- built out of modify ------------------------------------------------------------------

    async def put(
        self,
        queue: str,
        value: object = None,
        *,
        id: str | None = None,  # noqa: A002 - the field's name
        at: int | None = None,
        delay_ms: int | None = None,
        priority: int = 0,
        idempotency_key: str = "",
    ) -> Task:
        """Insert a task; see :class:`~raftq.Insert`.

        Raises:
            DependencyError: a task has this ``id`` already.
        """
        insert = Insert(queue, value, id=id, at=at, delay_ms=delay_ms, priority=priority)
        modified = await self.modify(inserts=(insert,), idempotency_key=idempotency_key)
        return modified.inserted[0]

    async def put_many(self, inserts: Iterable[Insert]) -> list[Task]:
        """Insert tasks, in as few requests as they fit in; only each request is atomic."""
        waiting = [insert_document(insert, self._value_bytes_max) for insert in inserts]
        done: list[Task] = []
        while len(done) < len(waiting):
            batch = _first_that_fit(waiting, len(done))
            request = documents.ModifyRequest(claimant=self.claimant, inserts=batch)
            done += (await self._modify(request)).inserted
        return done

    async def done(self, *tasks: Task | Target) -> None:
        """Delete finished tasks, all or none. Raises DependencyError if one is not held any more."""
        await self.modify(deletes=tasks)

    async def delete(self, *tasks: Task | Target) -> None:
        """Delete tasks, all or none. Raises DependencyError if another claimant holds one."""
        await self.modify(deletes=tasks)

    async def release(self, *tasks: Task) -> list[Task]:
        """Give claimed tasks back now, with no attempt counted."""
        return (await self.modify(changes=[task.change(delay_ms=0) for task in tasks])).changed

    async def retry(self, task: Task, delay_ms: int = 0, err: str = "") -> Task:
        """Give a task back after ``delay_ms``, with one more attempt counted and the error kept."""
        change = task.change(delay_ms=delay_ms, attempt=task.attempt + 1, err=err)
        return (await self.modify(changes=[change])).changed[0]

    async def quarantine(self, task: Task, err: str = "", *, queue: str | None = None) -> Task:
        """Move a task to the error queue (``QUEUE/err``, unless ``queue`` is given), with its error."""
        change = task.change(queue=queue or f"{task.queue}/err", delay_ms=0, err=err)
        return (await self.modify(changes=[change])).changed[0]

    async def move(self, task: Task, queue: str) -> Task:
        """Move a task to another queue, where it arrives now."""
        return (await self.modify(changes=[task.change(queue=queue, delay_ms=0)])).changed[0]

    async def peek(self, queue: str, limit: int = 10) -> list[Task]:
        """Look at tasks of a queue without claiming them."""
        return await self.tasks(queue, limit=limit)

    async def wait_empty(self, *queues: str, timeout_ms: int | None = None) -> bool:
        """Wait until no task is in any of ``queues``; False if ``timeout_ms`` passed before that."""
        give_up_at = None if timeout_ms is None else self.clock.monotonic() + timeout_ms / 1_000
        pause_s = POLL_S_FIRST
        while any(queue.tasks for queue in await self.queues(exact=queues)):
            if give_up_at is not None and self.clock.monotonic() >= give_up_at:
                return False
            await self.clock.sleep(pause_s)
            pause_s = min(2 * pause_s, POLL_S_MAX)
        return True

    def new_key(self) -> str:
        """Make an idempotency key, for a call that is to be repeated until its outcome is known."""
        return self._caller.new_key()

    async def _modify(
        self,
        request: documents.ModifyRequest,
        changes: Sequence[Change] = (),
        idempotency_key: str = "",
    ) -> Modified:
        def fits(reply: Modified) -> bool:
            return _fits(reply, request)

        if request.dry_run:
            modified = (await self._caller.ask("modify", request, Modified)).reply
            if not fits(modified):
                raise ProtocolError("the answer is not one to the modification")
        else:
            modified = await self._caller.change("modify", request, Modified, idempotency_key, fits)
        return _with_values(modified, request, changes)

    async def _ask(self, verb: str, document: documents.Document, reply_type: type[R]) -> R:
        return (await self._caller.ask(verb, document, reply_type)).reply

    async def _give_back(self, tasks: list[Task]) -> None:
        await self.release(*tasks)


def _consistency(stale: bool) -> Literal["linearizable", "stale"]:
    return "stale" if stale else "linearizable"


def _listed(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _fits(modified: Modified, request: documents.ModifyRequest) -> bool:
    """Whether an answer has as many parts as what it answers."""
    return (
        len(modified.inserted) == len(request.inserts)
        and len(modified.changed) == len(request.changes)
        and len(modified.docs_inserted) == len(request.doc_inserts)
        and len(modified.docs_changed) == len(request.doc_changes)
    )


def _with_values(
    modified: Modified, request: documents.ModifyRequest, changes: Sequence[Change]
) -> Modified:
    """Put the values that the caller knows to the tasks of an answer, which has none."""
    modified.inserted = [
        with_value(task, insert)
        for task, insert in zip(modified.inserted, request.inserts, strict=True)
    ]
    modified.changed = [
        with_value(with_value(task, change.task or task), document)
        for task, change, document in zip(modified.changed, changes, request.changes, strict=True)
    ]
    modified.docs_inserted = [
        with_doc_value(doc, part)
        for doc, part in zip(modified.docs_inserted, request.doc_inserts, strict=True)
    ]
    modified.docs_changed = [
        with_doc_value(doc, part)
        for doc, part in zip(modified.docs_changed, request.doc_changes, strict=True)
    ]
    return modified


def _first_that_fit(inserts: Sequence[documents.Insert], start: int) -> list[documents.Insert]:
    """Give as many tasks from ``start`` on as fit into one request; at least one."""
    room_bytes = BODY_BYTES_MAX - _ENVELOPE_BYTES
    batch: list[documents.Insert] = []
    for insert in inserts[start : start + PARTS_MAX]:
        room_bytes -= len(encode(insert, "json")) + 1
        if room_bytes < 0 and batch:
            break
        batch.append(insert)
    return batch
