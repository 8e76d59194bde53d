"""The state machine: log entries in, outcomes and effects out.

``apply`` is the only way in which the state changes. Same entries, same state: on every node, every
Python, every hash seed. It takes time and chance from the entry, checks everything before it changes
anything, and never raises for what an operation says; an exception out of ``apply`` is a
broken invariant, and the node that sees one must stop.
"""

from collections.abc import Callable, Container, Sequence
from typing import Any, Final, NamedTuple

from raftq_cluster.core import answers, collection, guarding, importing, modification, transaction
from raftq_cluster.core import operations as op
from raftq_cluster.core.chain import linked, passed
from raftq_cluster.core.digest import Digesting, digest
from raftq_cluster.core.operations import (
    ANONYMOUS,
    COLLECT,
    COLLECT_DOCS,
    FORGET,
    IMPORT,
    TICK,
    VERIFY,
    Operation,
)
from raftq_cluster.core.outcomes import (
    CLAIMED,
    MISSING,
    VERSION,
    Claimed,
    ClaimedBefore,
    DocsClaimed,
    Done,
    LostTask,
    Outcome,
    Refused,
    Renewed,
    SettingsRow,
    Settled,
    TaskRow,
)
from raftq_cluster.core.queries import Query
from raftq_cluster.core.queue_state import QueueState
from raftq_cluster.core.settings import PATTERNS_MAX
from raftq_cluster.core.snapshot import Snapshot
from raftq_cluster.core.state import State
from raftq_cluster.core.task import Task

# A claim takes no further task once it has this many bytes of values: an answer, and the idempotency
# record that keeps it, must fit into a frame.
CLAIM_BYTES_MAX: Final = 8 * 2**20
_new = tuple.__new__  # half the price of calling a named tuple's class
# Operations without an idempotency key.
_KEYLESS: Final = frozenset({TICK, FORGET, VERIFY, IMPORT, COLLECT, COLLECT_DOCS})
_WHILE_IMPORTING: Final = frozenset({TICK, VERIFY, IMPORT})  # operations that are done meanwhile
_EMPTY: Final = Claimed(())
_DONE: Final = Done()
_UNKNOWN_KIND: Final = Refused("invalid", "unknown kind of operation")
_TOO_MANY_SETTINGS: Final = Refused(
    "store_full",
    f"the limit settings_max is {PATTERNS_MAX}",
    limit_name="settings_max",
    limit=PATTERNS_MAX,
)
_NO_SUCH_TASK: Final = Refused("task_not_found", "no dequeued task of this queue has this id")


class Applied(NamedTuple):
    """What came of an entry: outcomes by segment and operation, and effects as data.

    ``ready`` says of which queues how many tasks became claimable; the shell wakes that many waiters.
    ``wants_digest``: somebody wants to know the digest of the state as of this entry.
    """

    outcomes: list[list[Outcome]]
    ready: dict[str, int]
    wants_digest: bool = False


class Machine(State):
    """The whole task table. One thread owns it."""

    def __init__(self) -> None:
        super().__init__()
        self._handlers: dict[int, Callable[[Any], Outcome]] = {
            op.GUARD: self._guard,
            op.CLAIM: self._claim,
            op.MODIFY: self._modify,
            op.RENEW: self._renew,
            op.SETTLE: self._settle,
            op.CONFIGURE: self._configure,
            op.CONFIGURE_BOUNDED: self._configure,
            op.TICK: self._tick,
            op.FORGET: self._forget,
            op.TRANSACT: self._transact,
            op.CLAIM_DOCS: self._claim_docs,
            op.VERIFY: self._verify,
            op.IMPORT: self._import,
            op.COLLECT: self._collect,
            op.COLLECT_DOCS: self._collect_docs,
        }
        self._wants_digest = False

    def apply(
        self,
        index: int,
        now_ms: int,
        seed: int,
        segments: Sequence[Sequence[Operation]],
        check: int = 0,
    ) -> Applied:
        """Apply one entry.

        Args:
            index: log index, above that of the last entry.
            now_ms: time that the leader stamped; an earlier one than the log's counts as the log's.
            seed: chance of this entry, 0 to 2**64 - 1.
            segments: operations, applied in order.
            check: checksum of the entry's bytes, for the chain.

        Raises:
            MachineError: the entry is not the next one, or the state is broken. Stop the node.
        """
        self.begin(index, now_ms, seed)
        outcomes = [self._run(segment) for segment in segments]
        ready = self.take_effects()
        self.chain = linked(self, check, outcomes, ready)
        wants_digest, self._wants_digest = self._wants_digest, False
        return Applied(outcomes, ready, wants_digest)

    def pass_by(self, index: int, check: int) -> None:
        """Note in the chain an entry that is in the log and is not for the machine."""
        self.chain = passed(self.chain, index, check)

    def snapshot(self, chunk_records: int = 200) -> Snapshot:
        """Begin a snapshot of the state as it is now; the machine may go on while it is read."""
        return Snapshot(self, chunk_records)

    def digest(self) -> str:
        """Hash the whole state; see :mod:`raftq_cluster.core.digest`."""
        return digest(self)

    def digesting(self) -> Digesting:
        """Begin to hash the state as it is now; the machine may go on meanwhile."""
        return Digesting(self)

    def dismantle(self) -> None:
        """Give the memory back, piece by piece; may run in another thread. The end of this machine."""
        super().dismantle()
        self._handlers.clear()

    def query(self, query: Query, now_ms: int) -> Any:
        """Answer a question about the state as of the last entry; ``now_ms`` is for :class:`Time`."""
        return answers.answer(self, query, now_ms)

    def _run(self, segment: Sequence[Any]) -> list[Outcome]:
        if self.importing is not None:
            return [self._run_while_importing(operation) for operation in segment]
        handlers = self._handlers
        outcomes: list[Outcome] = []
        append = outcomes.append
        for operation in segment:
            kind = operation[0]
            handler = handlers.get(kind)
            if handler is None:
                append(_UNKNOWN_KIND)
            elif (kind < TICK or kind not in _KEYLESS) and operation[1]:
                append(self._run_once(handler, operation))
            else:
                append(handler(operation))
        return outcomes

    def _run_while_importing(self, operation: Any) -> Outcome:
        """Let an import go on, and nothing else happen."""
        handler = self._handlers.get(operation[0])
        if handler is None or operation[0] not in _WHILE_IMPORTING:
            return importing.UNFINISHED
        return handler(operation)

    def _run_once(self, handler: Callable[[Any], Outcome], operation: Any) -> Outcome:
        """Run an operation that carries an idempotency key, or give the answer it had."""
        key, mark = operation[1], operation[2]
        record = self.keys.get(key)
        if record is not None and record.expires_at <= self.now_ms:
            self.keys.forget(key)
        elif record is not None:
            if record.mark != mark:
                return Refused("idempotency_key_reused", "the key was used for another request")
            return self._told_again(record.outcome)
        if self.keys.is_full():
            return self.keys.refusal()
        outcome = handler(operation)
        # What did nothing and may go better next time is not remembered: an empty claim's retry may
        # find a task, and there may be room for settings.
        if outcome is not _EMPTY and outcome is not _TOO_MANY_SETTINGS:
            self.keys.add(key, mark, self.now_ms, outcome)
        return outcome

    def _told_again(self, outcome: Outcome) -> Outcome:
        """Give a remembered answer; of a claim, the tasks that nobody has changed since.

        A task that was claimed again, or is done, is no longer the caller's to work on; and keeping
        the values of finished work for the whole window would fill the node with them.
        """
        if isinstance(outcome, DocsClaimed):
            return transaction.docs_told_again(self.docs, outcome)
        if not isinstance(outcome, Claimed):
            return outcome
        tasks = [self.tasks.get(row.id) for row in outcome.tasks]
        still = zip(tasks, outcome.tasks, strict=True)
        return ClaimedBefore(
            tuple([task.row() for task, row in still if task and task.version == row.version])
        )

    # --- claim --------------------------------------------------------------------------------

    def _claim(self, operation: op.Claim) -> Outcome:
        _, _, _, claimant, names, lease_ms, limit, serial = operation
        claimant = claimant or ANONYMOUS
        if len(names) == 1 and limit == 1:  # what nearly every claim is
            queue = self.queues.get(names[0])
            if queue is None or queue.paused or not queue.ready:
                return _EMPTY
            return _new(Claimed, ((self.lease(queue, claimant, lease_ms, serial),),))
        queues = self._claimable_queues(names)
        taken: list[TaskRow] = []
        room = CLAIM_BYTES_MAX
        while queues and len(taken) < limit and room > 0:
            # Each queue that has a ready task is as likely as any other: a short queue is not
            # starved by a long one.
            queue = queues[0] if len(queues) == 1 else queues[self.seeds.below(len(queues))]
            taken.append(self.lease(queue, claimant, lease_ms, serial))
            room -= len(taken[-1].value) + len(taken[-1].err)
            if not queue.ready:
                queues.remove(queue)
        return Claimed(tuple(taken)) if taken else _EMPTY

    def _claimable_queues(self, names: Sequence[str]) -> list[QueueState]:
        found = []
        for name in names:
            queue = self.queues.get(name)
            if queue is not None and queue.ready and not queue.paused and queue not in found:
                found.append(queue)
        return found

    # --- modify -------------------------------------------------------------------------------

    def _modify(self, operation: op.Modify) -> Outcome:
        return modification.modify(self, operation)

    def _transact(self, operation: op.Transact) -> Outcome:
        return transaction.transact(self, operation)

    def _claim_docs(self, operation: op.ClaimDocs) -> Outcome:
        return transaction.claim_docs(self, operation)

    # --- renew --------------------------------------------------------------------------------

    def _renew(self, operation: op.Renew, hidden: Container[str] = ()) -> Outcome:
        _, _, _, claimant, targets, lease_ms = operation
        renewed: list[TaskRow] = []
        lost: list[LostTask] = []
        for id_, version in targets:
            if id_ in hidden:
                reason = MISSING
            else:
                reason = self._why_lost(id_, version, claimant or ANONYMOUS)
            if reason:
                lost.append(LostTask(id_, reason))
            else:
                renewed.append(self._extend(self.tasks[id_], claimant or ANONYMOUS, lease_ms))
        return Renewed(tuple(renewed), tuple(lost))

    def _why_lost(self, id_: str, version: int, claimant: str) -> str:
        task = self.tasks.get(id_)
        if task is None:
            return MISSING
        if task.version != version:
            return VERSION
        return "" if task.claimant == claimant and version else CLAIMED

    def _extend(self, task: Task, claimant: str, lease_ms: int) -> TaskRow:
        """Hold a task whose lease may have run out, as long as nobody took it since."""
        if task.queue.has_lease_bounds:
            lease_ms = task.queue.effective.granted_ms(lease_ms)
        self.withdraw(task)
        task.version += 1
        task.claimant = claimant
        task.modified = self.now_ms
        self.hold(task, lease_ms)
        return task.row()

    # --- guarded ------------------------------------------------------------------------------

    def _guard(self, operation: op.Guarded) -> Outcome:
        _, _, _, grants, inner = operation
        if inner[0] == op.RENEW:
            lost = guarding.renewable(self, grants, inner)  # type: ignore[arg-type] # a plain tuple
            return lost if isinstance(lost, Refused) else self._renew(inner, lost)  # type: ignore[arg-type] # the same
        if inner[0] == op.CLAIM_DOCS:
            is_hidden = not guarding.may_match(self, grants, inner)  # type: ignore[arg-type] # the same
            return transaction.claim_docs(self, inner, is_hidden=is_hidden)  # type: ignore[arg-type] # the same
        hidden = guarding.modify_hidden(self, grants, inner[:8])  # type: ignore[arg-type] # the same
        if isinstance(hidden, Refused):
            return hidden
        if inner[0] == op.TRANSACT:
            return transaction.transact(self, inner, hidden)  # type: ignore[arg-type] # the same
        refused = modification.refusal(self, inner, hidden)  # type: ignore[arg-type] # the same
        return refused or modification.commit(self, inner)  # type: ignore[arg-type] # the same

    # --- settle -------------------------------------------------------------------------------

    def _settle(self, operation: op.Settle) -> Outcome:
        _, _, _, action, name, serial, delay_ms = operation
        queue = self.queues.get(name)
        task = None if queue is None else queue.serials.get(serial)
        if queue is None or task is None or not task.claims:
            return _NO_SUCH_TASK
        if action == op.ACK:
            row = task.row()
            self.delete(task)
            return _new(Settled, (row,))
        if action == op.TOUCH:
            if not task.is_held():
                return _NO_SUCH_TASK
            return Settled(self._extend(task, task.claimant, queue.lease_ms))
        if action == op.NACK:
            return Settled(self._give_back(task, delay_ms))
        return Refused("invalid", "unknown way to settle a task")

    def _give_back(self, task: Task, delay_ms: int) -> TaskRow:
        self.withdraw(task)
        task.version += 1
        task.claimant = ""
        task.modified = self.now_ms
        task.at = self.now_ms + delay_ms
        self.place(task)
        return task.row()

    # --- the rest -----------------------------------------------------------------------------

    def _configure(self, operation: op.Configure | op.ConfigureBounded) -> Outcome:
        pattern = operation[3]
        if not self.settings.put(SettingsRow(*operation[3:])):
            return _TOO_MANY_SETTINGS
        self.follow_settings(pattern)
        return _DONE

    def _tick(self, operation: op.Tick) -> Outcome:
        del operation  # beginning the entry has let its time pass
        return _DONE

    def _verify(self, operation: op.Verify) -> Outcome:
        del operation  # which entry it is in is all that it says
        self._wants_digest = True
        return _DONE

    def _import(self, operation: op.Import) -> Outcome:
        return importing.run_import(self, operation)

    def _collect(self, operation: op.Collect) -> Outcome:
        return collection.collect(self, operation)

    def _collect_docs(self, operation: op.CollectDocs) -> Outcome:
        return collection.collect_docs(self, operation)

    def _forget(self, operation: op.Forget) -> Outcome:
        for key in operation[1]:
            self.keys.forget(key)
        return _DONE
