"""The service as one principal sees it: what it may not do is refused, what it may not read is not there.

Everything that an operation says by itself is checked here. Which queue a task is in only the state
knows, at the operation's place in the log: changes, deletes, depends and renewals of somebody who has
not the right everywhere carry their grants there (:mod:`raftq_cluster.core.guarding`), so that no node
that lags behind can be used to get around them. Source: ``docs/security.md``.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, Final

from raftq.wire.export_file import AbandonReply, ImportReply
from raftq_cluster.auth.tokens import Principal
from raftq_cluster.backends.api import Answer, MemberChange, Sink, Status, Verification
from raftq_cluster.core import operations as op
from raftq_cluster.core import queries, rights
from raftq_cluster.core.guarding import forbidden
from raftq_cluster.core.operations import Claim, Operation
from raftq_cluster.core.outcomes import Outcome, Refused, TaskRow, Transacted
from raftq_cluster.core.queries import Query
from raftq_cluster.core.rights import EVERYWHERE, Grants, allows, covers, touches
from raftq_cluster.service.facade import Service
from raftq_cluster.service.held import HeldWaits
from raftq_cluster.service.refusals import refusal_of

_MARK_BYTES: Final = 8  # as of every mark
# Ack takes a task away for good, as a delete does; touch and nack are for who may claim it again.
_TO_SETTLE: Final = {op.ACK: rights.DELETE, op.TOUCH: rights.CLAIM, op.NACK: rights.CLAIM}


class Authorised:
    """An :class:`~raftq_cluster.service.entrance.Entrance` with the rights of one principal.

    Args:
        service: what is behind it.
        principal: who comes in.
        digest: of the principal's token, under which ``waits`` knows its waiting claims.
        waits: where waiting claims are kept, so that they can end with their token.
    """

    def __init__(
        self,
        service: Service,
        principal: Principal,
        *,
        digest: str = "",
        waits: HeldWaits | None = None,
    ) -> None:
        self.limits = service.limits
        self.new_id = service.new_id
        self.principal = principal
        self._service = service
        self._grants = principal.grants
        self._digest = digest
        self._waits = HeldWaits(service) if waits is None else waits

    def submit(self, operations: Sequence[Operation], sink: Sink) -> None:
        """Have done what may be done; the rest gets a refusal in its place."""
        checked = [self._checked(operation) for operation in operations]
        admitted: list[Operation] = [item for item in checked if not isinstance(item, Refused)]

        def told(index: int, outcomes: Sequence[Outcome]) -> None:
            answers = iter(outcomes)
            sink(index, [item if isinstance(item, Refused) else next(answers) for item in checked])

        if len(admitted) == len(checked):
            self._service.submit(admitted, sink)
        elif admitted:
            self._service.submit(admitted, told)
        else:
            told(self._service.status().index, ())

    def claim(self, claim: Claim, wait_ms: int, sink: Sink) -> Callable[[], None]:
        """Claim, and wait, if all the queues may be claimed from."""
        checked = self._checked(claim)
        if isinstance(checked, Refused):
            sink(self._service.status().index, [checked])
            return _nothing_to_give_up
        assert isinstance(checked, Claim)
        return self._waits.begin(self._digest, checked, wait_ms, sink)

    async def run(self, operations: Sequence[Operation]) -> tuple[int, Sequence[Outcome]]:
        """Do operations as :meth:`submit` does."""
        checked = [self._checked(operation) for operation in operations]
        admitted: list[Operation] = [item for item in checked if not isinstance(item, Refused)]
        if not admitted:
            return self._service.status().index, [
                item for item in checked if isinstance(item, Refused)
            ]
        index, outcomes = await self._service.run(admitted)
        answers = map(self._shown, outcomes)
        return index, [item if isinstance(item, Refused) else next(answers) for item in checked]

    async def wait_claim(self, claim: Claim, wait_ms: int) -> tuple[int, Outcome]:
        """Claim as :meth:`claim` does."""
        checked = self._checked(claim)
        if isinstance(checked, Refused):
            return self._service.status().index, checked
        assert isinstance(checked, Claim)
        begin = partial(self._waits.begin, self._digest, checked, wait_ms)
        return await self._service.awaited(checked, begin)

    async def read(self, query: Query, *, stale: bool = False) -> Answer:
        """Answer a query with what may be read.

        Raises:
            Refusal: ``forbidden``, or what :meth:`Service.read` raises.
        """
        if isinstance(query, queries.Tasks):
            return await self._read_tasks(query, stale=stale)
        if isinstance(query, queries.Queues):
            return await self._read_queues(query, stale=stale)
        if isinstance(query, queries.Docs):
            self._require(rights.READ, query.namespace)
        if isinstance(query, queries.Namespaces):
            return await self._read_namespaces(query, stale=stale)
        if isinstance(query, queries.DryRun):
            return await self._preview(query, stale=stale)
        if isinstance(query, queries.Digest):
            self._require(rights.ADMIN, EVERYWHERE)
        answer = await self._service.read(query, stale=stale)
        if isinstance(query, queries.AllSettings):
            rows = [row for row in answer.value if touches(self._grants, rights.READ, row.pattern)]
            return Answer(answer.index, rows)
        return answer

    async def change_members(self, change: MemberChange) -> None:
        """Change the members; needs admin everywhere. Raises as :meth:`read`."""
        self._require(rights.ADMIN, EVERYWHERE)
        await self._service.change_members(change)

    async def verify(self, entry: int) -> Verification:
        """Compare the states of all nodes; needs admin everywhere. Raises as :meth:`read`."""
        self._require(rights.ADMIN, EVERYWHERE)
        return await self._service.verify(entry)

    def export(self) -> AsyncIterator[bytes]:
        """Give the whole state as a file; needs admin everywhere. Raises as :meth:`read`."""
        self._require(rights.ADMIN, EVERYWHERE)
        return self._service.export()

    async def take_in(self, chunks: AsyncIterator[bytes]) -> ImportReply:
        """Take in the state of another store; needs admin everywhere. Raises as :meth:`read`."""
        self._require(rights.ADMIN, EVERYWHERE)
        return await self._service.take_in(chunks)

    async def abandon_import(self) -> AbandonReply:
        """Drop an unfinished import; needs admin everywhere. Raises as :meth:`read`."""
        self._require(rights.ADMIN, EVERYWHERE)
        return await self._service.abandon_import()

    def cluster(self) -> Status:
        """Tell about the cluster: whoever has a token may know its nodes."""
        return self._service.cluster()

    def require_overview(self) -> None:
        """Refuse who may see neither all queues nor after the node: metrics tell about both."""
        if not covers(self._grants, rights.ADMIN, EVERYWHERE):
            self._require(rights.READ, EVERYWHERE)

    # --- inside -------------------------------------------------------------------------------

    async def _read_tasks(self, query: queries.Tasks, *, stale: bool) -> Answer:
        if covers(self._grants, rights.READ, EVERYWHERE):
            return await self._service.read(query, stale=stale)
        if query.queue:
            self._require(rights.READ, query.queue)
            return await self._service.read(query, stale=stale)
        # All of the ids are read: what is hidden must not count towards the limit, which would tell.
        everything = query._replace(limit=max(query.limit, len(query.ids)))
        answer = await self._service.read(everything, stale=stale)
        rows = [row for row in answer.value if allows(self._grants, rights.READ, row.queue)]
        return Answer(answer.index, rows[: query.limit])

    async def _read_queues(self, query: queries.Queues, *, stale: bool) -> Answer:
        narrowed = readable(query, self._grants)
        if narrowed is None:
            return Answer((await self._service.read(queries.Time(), stale=stale)).index, [])
        return await self._service.read(narrowed, stale=stale)

    async def _read_namespaces(self, query: queries.Namespaces, *, stale: bool) -> Answer:
        narrowed = readable(queries.Queues(*query), self._grants)
        if narrowed is None:
            return Answer((await self._service.read(queries.Time(), stale=stale)).index, [])
        return await self._service.read(queries.Namespaces(*narrowed), stale=stale)

    async def _preview(self, query: queries.DryRun, *, stale: bool) -> Answer:
        checked = self._checked(query.modify)
        if isinstance(checked, Refused):
            return Answer(self._service.status().index, checked)
        return await self._service.read(query._replace(grants=self._grants), stale=stale)

    def _shown(self, outcome: Outcome) -> Outcome:
        """Leave out the values of changed tasks for who may neither read nor claim them."""
        if not isinstance(outcome, Transacted) or not outcome.changed:
            return outcome
        return outcome._replace(
            changed=tuple(
                row if self._sees(row) else row._replace(value=b"") for row in outcome.changed
            )
        )

    def _sees(self, row: TaskRow) -> bool:
        grants, queue = self._grants, row.queue
        return allows(grants, rights.READ, queue) or allows(grants, rights.CLAIM, queue)

    def _require(self, right: int, pattern: str) -> None:
        if not covers(self._grants, right, pattern):
            raise refusal_of(forbidden(right, pattern), self._service.status().index)

    def _checked(self, operation: Operation) -> Operation | Refused:
        """Give the operation as it goes to the log, or why it does not."""
        check = _CHECKS.get(operation[0])
        if check is None:
            return Refused("forbidden", "this is not for clients")
        return check(self.principal, operation)


def readable(query: queries.Queues, grants: Grants) -> queries.Queues | None:
    """Narrow a listing to what may be read; None if nothing of it may."""
    if covers(grants, rights.READ, EVERYWHERE):
        return query
    mine = [pattern for pattern, owned in grants if owned & rights.READ]
    asked = [f"{prefix}*" for prefix in query.prefixes] + list(query.names)
    both = {_narrower(own, other) for own in mine for other in asked or (EVERYWHERE,)} - {""}
    if not both:
        return None
    prefixes = tuple(sorted(item[:-1] for item in both if item.endswith("*")))
    names = tuple(sorted(item for item in both if not item.endswith("*")))
    return queries.Queues(prefixes, names, query.limit)


def _narrower(one: str, other: str) -> str:
    """Give the pattern of what two patterns both match, "" for nothing."""
    if covers(((one, rights.READ),), rights.READ, other):
        return other
    return one if covers(((other, rights.READ),), rights.READ, one) else ""


def may_claim(principal: Principal, claim: Claim) -> Refused | None:
    """Refuse a claim from a queue that the principal may not claim from; None: it may."""
    for queue in claim.queues:
        if not allows(principal.grants, rights.CLAIM, queue):
            return forbidden(rights.CLAIM, queue)
    return None


def _check_claim(principal: Principal, claim: Any) -> Operation | Refused:
    return may_claim(principal, claim) or _marked(principal, claim)


def _check_modify(principal: Principal, modify: Any) -> Operation | Refused:
    grants = principal.grants
    for insert in modify[4]:
        if not allows(grants, rights.INSERT, insert[0]):
            return forbidden(rights.INSERT, insert[0])
    if not (modify[5] or modify[6] or modify[7]):
        return _marked(principal, modify)  # it only inserts: nearly always
    needed = (
        (modify[5], rights.CHANGE | rights.DELETE | rights.INSERT),  # a change may be a move
        (modify[6], rights.DELETE),
        (modify[7], rights.READ),
    )
    if all(not parts or _has_everywhere(grants, right) for parts, right in needed):
        return _marked(principal, modify)
    return _guarded(principal, modify)


def _check_transact(principal: Principal, transact: Any) -> Operation | Refused:
    grants, docs = principal.grants, transact[10]
    for insert in transact[4]:
        if not allows(grants, rights.INSERT, insert[0]):
            return forbidden(rights.INSERT, insert[0])
    needed = (
        (docs[0], rights.INSERT),
        (docs[1], rights.CHANGE),
        (docs[2], rights.DELETE),
        (docs[3], rights.READ),
        (docs[4], rights.CLAIM),
    )
    for parts, right in needed:
        for part in parts:  # whatever is said of docs names their namespace
            if not allows(grants, right, part[0]):
                return forbidden(right, part[0])
    if not (transact[5] or transact[6] or transact[7]):
        return _marked(principal, transact)
    return _guarded(principal, transact)


def _check_claim_docs(principal: Principal, claim: Any) -> Operation | Refused:
    for item in claim[4]:
        if not allows(principal.grants, rights.CLAIM, item[0]):
            return forbidden(rights.CLAIM, item[0])
    if not claim[6][0] or _has_everywhere(principal.grants, rights.READ):
        return _marked(principal, claim)
    return _guarded(principal, claim)


def _check_renew(principal: Principal, renew: Any) -> Operation | Refused:
    if _has_everywhere(principal.grants, rights.CLAIM):
        return _marked(principal, renew)
    return _guarded(principal, renew)


def _check_settle(principal: Principal, settle: Any) -> Operation | Refused:
    right, queue = _TO_SETTLE[settle[3]], settle[4]
    if not allows(principal.grants, right, queue):
        return forbidden(right, queue)
    return _marked(principal, settle)


def _check_configure(principal: Principal, configure: Any) -> Operation | Refused:
    if not covers(principal.grants, rights.ADMIN, configure[3]):
        return forbidden(rights.ADMIN, configure[3])
    return _marked(principal, configure)


def _check_forget(principal: Principal, forget: Any) -> Operation | Refused:
    del principal  # who knows a key may say that its answer has arrived
    operation: Operation = forget
    return operation


_CHECKS: Final[dict[int, Callable[[Principal, Any], Operation | Refused]]] = {
    op.CLAIM: _check_claim,
    op.MODIFY: _check_modify,
    op.RENEW: _check_renew,
    op.SETTLE: _check_settle,
    op.CONFIGURE: _check_configure,
    op.CONFIGURE_BOUNDED: _check_configure,
    op.FORGET: _check_forget,
    op.TRANSACT: _check_transact,
    op.CLAIM_DOCS: _check_claim_docs,
}


def _has_everywhere(grants: Grants, wanted: int) -> bool:
    return all(covers(grants, right, EVERYWHERE) for right in rights.NAMES if right & wanted)


def _guarded(principal: Principal, operation: Any) -> Operation:
    bare = operation._replace(key="", mark=b"")  # they stand before it
    mark = _mark(principal, operation)
    return op.Guarded(op.GUARD, operation[1], mark, tuple(principal.grants), bare)


def _marked(principal: Principal, operation: Any) -> Operation:
    """Bind an idempotency key to the principal: another one's key is no way to its answers."""
    if operation[1]:
        marked: Operation = operation._replace(mark=_mark(principal, operation))
        return marked
    plain: Operation = operation
    return plain


def _mark(principal: Principal, operation: Any) -> bytes:
    if not operation[1]:
        return b""
    mark: bytes = operation[2]
    return blake2b(mark, digest_size=_MARK_BYTES, key=principal.name.encode()).digest()


def _nothing_to_give_up() -> None:
    """The wait is over already."""
