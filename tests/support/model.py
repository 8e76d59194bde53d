"""What the state machine must do, said as plainly as possible: rows in a dict, scanned every time.

Source: DESIGN, section 1, and the docstrings of ``core.operations``, ``outcomes`` and ``queries``. Where chance
decides (claims from a random queue), the model is told the answer and only judges it. A dict keeps
the order of insertion, so the rows are always in the order in which their tasks were inserted.
"""

from collections.abc import Callable, Sequence
from typing import Any

from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import (
    Claimed,
    Done,
    FailedPart,
    LostTask,
    Modified,
    QueueStats,
    Refused,
    Renewed,
    SettingsRow,
    Settled,
    TaskRow,
)  # fmt: skip

KEY_WINDOW_MS = 300_000
LEASE_MS = 60_000


class Model:
    """The task table, obviously right and slow."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.rows: dict[str, TaskRow] = {}
        self.last_serial: dict[str, int] = {}  # of queues that gave integer ids
        self.fifo_born: set[str] = set()  # queues first used by an insert with an integer id
        self.settings: dict[str, SettingsRow] = {}
        self.keys: dict[str, tuple[bytes, int, Any]] = {}

    def begin(self, now_ms: int) -> None:
        self.now_ms = max(self.now_ms, now_ms)
        self.keys = {key: kept for key, kept in self.keys.items() if kept[1] > self.now_ms}

    def judge(self, operation: Any, answer: Any) -> None:
        """Fail unless ``answer`` is one that the operation may have; then follow it."""
        if operation[0] in (op.TICK, op.FORGET):
            for key in operation.keys if operation[0] == op.FORGET else ():
                self.keys.pop(key, None)
            assert answer == Done()
            return
        if operation.key in self.keys:
            mark, _, first = self.keys[operation.key]
            if mark == operation.mark:
                assert answer == self.still(first)
            else:
                assert isinstance(answer, Refused)
                assert answer.code == "idempotency_key_reused"
            return
        does: dict[int, Callable[[Any, Any], None]] = {op.CLAIM: self._claim, op.MODIFY: self._modify, op.RENEW: self._renew,
                op.SETTLE: self._settle, op.CONFIGURE: self._configure}  # fmt: skip
        does[operation[0]](operation, answer)
        if operation.key and answer != Claimed(()):
            self.keys[operation.key] = (
                operation.mark,
                self.now_ms + KEY_WINDOW_MS,
                repeated(answer),
            )

    def still(self, first: Any) -> Any:
        """What the repeat of a request is answered: of a claim, the tasks as nobody changed them."""
        if not isinstance(first, Claimed):
            return first
        versions = {row.id: row.version for row in first.tasks}
        rows = [self.rows[id_] for id_ in versions if id_ in self.rows]
        return Claimed(tuple(row for row in rows if row.version == versions[row.id]))

    # --- what is asked of tasks and queues ------------------------------------------------------

    def arrived(self, row: TaskRow) -> bool:
        return row.at <= self.now_ms

    def held(self, row: TaskRow) -> bool:
        return row.claimant != "" and not self.arrived(row)

    def in_queue(self, queue: str) -> list[TaskRow]:
        return [row for row in self.rows.values() if row.queue == queue]

    def setting(self, queue: str, field: str) -> Any:
        """Take the field from the exact pattern, else from the longest matching prefix that has it."""
        prefixes = [pattern for pattern in self.settings
                    if pattern.endswith("*") and queue.startswith(pattern[:-1])]  # fmt: skip
        for pattern in [queue, *sorted(prefixes, key=len, reverse=True)]:
            found = getattr(self.settings.get(pattern), field, None)
            if found is not None:
                return found
        born_order = "fifo" if queue in self.fifo_born else "random"
        return {"order": born_order, "paused": False, "lease_ms": LEASE_MS}[field]

    def in_turn(self, queue: str) -> list[TaskRow]:
        """List the arrived tasks in the order in which fifo and priority give them out."""
        ready = [row for row in self.in_queue(queue) if self.arrived(row)]
        if self.setting(queue, "order") == "priority":
            ready.sort(key=lambda row: -row.priority)
        return ready

    def stats(self, queue: str) -> QueueStats:
        rows = self.in_queue(queue)
        ready = [row for row in rows if self.arrived(row)]
        held = [row for row in rows if self.held(row)]
        return QueueStats(
            queue, len(rows), len(ready), len(held), len(rows) - len(ready) - len(held),
            max((row.claims for row in rows), default=0), min((row.at for row in ready), default=None),
            self.setting(queue, "order"), self.setting(queue, "paused"),
        )  # fmt: skip

    def value_bytes(self) -> int:
        return sum(len(row.value) + len(row.err) for row in self.rows.values())

    # --- operations -------------------------------------------------------------------------------

    def _claim(self, claim: op.Claim, answer: Any) -> None:
        assert isinstance(answer, Claimed)
        queues = [
            queue for queue in dict.fromkeys(claim.queues) if not self.setting(queue, "paused")
        ]
        in_turn = {queue: self.in_turn(queue) for queue in queues}
        assert len(answer.tasks) == min(max(claim.limit, 0), sum(map(len, in_turn.values())))
        for taken in answer.tasks:
            row = self.rows[taken.id]
            ready = in_turn[row.queue]
            assert row in ready if self.setting(row.queue, "order") == "random" else row == ready[0]
            ready.remove(row)
            lease_ms = claim.lease_ms or self.setting(row.queue, "lease_ms")
            row = row._replace(
                version=row.version + 1, claims=row.claims + 1, claimant=claim.claimant or op.ANONYMOUS,
                at=self.now_ms + lease_ms, modified=self.now_ms,
                serial=row.serial or (self._next_serial(row.queue) if claim.serial else 0),
            )  # fmt: skip
            self.rows[row.id] = row
            assert taken == row

    def _modify(self, modify: op.Modify, answer: Any) -> None:
        targets: list[Any] = [*modify.changes, *modify.deletes, *modify.depends]
        ids = [insert.id for insert in modify.inserts] + [target.id for target in targets]
        failed = self.failed_parts(modify)
        if len(set(ids)) < len(ids):
            assert isinstance(answer, Refused)
            assert answer.code == "invalid"
        elif failed:
            assert isinstance(answer, Refused)
            assert (answer.code, list(answer.failed)) == ("dependency", failed)
        else:
            for target in modify.deletes:
                del self.rows[target.id]
            changed = [self._change(change, modify.claimant) for change in modify.changes]
            inserted = [self._insert(insert) for insert in modify.inserts]
            assert answer == Modified(tuple(inserted), tuple(changed))

    def failed_parts(self, modify: op.Modify) -> list[FailedPart]:
        failed = [
            FailedPart("insert", position, insert.id, "exists", self.rows[insert.id].version)
            for position, insert in enumerate(modify.inserts) if insert.id in self.rows
        ]  # fmt: skip
        parts: Sequence[tuple[str, Sequence[Any]]] = (
            ("change", modify.changes), ("delete", modify.deletes), ("depend", modify.depends))  # fmt: skip
        for part, targets in parts:
            for position, target in enumerate(targets):
                row = self.rows.get(target.id)
                if row is None:
                    failed.append(FailedPart(part, position, target.id, "missing"))
                elif row.version != target.version:
                    failed.append(FailedPart(part, position, row.id, "version", row.version))
                elif (
                    part != "depend"
                    and self.held(row)
                    and row.claimant != (modify.claimant or op.ANONYMOUS)
                ):
                    failed.append(
                        FailedPart(
                            part, position, row.id, "claimed", row.version, row.claimant, row.at
                        )
                    )
        return failed

    def _insert(self, insert: op.Insert) -> TaskRow:
        self._use_queue(insert.queue, fifo=insert.serial)
        now_ms = self.now_ms
        at = {op.KEEP: now_ms, op.AT: max(insert.ms, now_ms), op.DELAY: now_ms + insert.ms}[
            insert.arrival
        ]
        serial = self._next_serial(insert.queue) if insert.serial else 0
        row = TaskRow(insert.id, 0, insert.queue, at, insert.value, insert.kind, "", 0, insert.attempt,
                      insert.priority, insert.err, now_ms, now_ms, serial)  # fmt: skip
        self.rows[row.id] = row
        return row

    def _change(self, change: op.Change, claimant: str) -> TaskRow:
        row, now_ms, me = self.rows[change.id], self.now_ms, claimant or op.ANONYMOUS
        at, holder = {
            op.KEEP: (row.at, row.claimant),
            op.AT: (max(change.ms, now_ms), ""),
            op.DELAY: (now_ms + change.ms, ""),
            op.LEASE: (now_ms + change.ms, me),
            op.HOLD_UNTIL: (change.ms, me) if change.ms > now_ms else (now_ms, ""),
        }[change.arrival]
        given = {name: getattr(change, name) for name in ("value", "attempt", "priority", "err")
                 if getattr(change, name) is not None}  # fmt: skip
        if change.value is not None:
            given["kind"] = change.kind
        if change.queue is not None and change.queue != row.queue:
            self._use_queue(change.queue, fifo=False)
            given |= {"queue": change.queue, "serial": 0}
        row = row._replace(
            version=row.version + 1, at=at, claimant=holder, modified=now_ms, **given
        )
        self.rows[row.id] = row
        return row

    def _renew(self, renew: op.Renew, answer: Any) -> None:
        renewed, lost = [], []
        for target in renew.targets:
            row = self.rows.get(target.id)
            if row is None:
                lost.append(LostTask(target.id, "missing"))
            elif row.version != target.version:
                lost.append(LostTask(row.id, "version"))
            elif row.claimant != (renew.claimant or op.ANONYMOUS):
                lost.append(LostTask(row.id, "claimed"))
            else:
                renewed.append(self._move(row, row.claimant, renew.lease_ms))
        assert answer == Renewed(tuple(renewed), tuple(lost))

    def _settle(self, settle: op.Settle, answer: Any) -> None:
        found = [
            row
            for row in self.in_queue(settle.queue)
            if row.serial == settle.serial != 0 and row.claims
        ]
        if not found or (settle.action == op.TOUCH and not self.held(found[0])):
            assert isinstance(answer, Refused)
            assert answer.code == "task_not_found"
        elif settle.action == op.ACK:
            assert answer == Settled(self.rows.pop(found[0].id))
        elif settle.action == op.TOUCH:
            lease_ms = self.setting(settle.queue, "lease_ms")
            assert answer == Settled(self._move(found[0], found[0].claimant, lease_ms))
        else:
            assert answer == Settled(self._move(found[0], "", settle.ms))

    def _configure(self, configure: op.Configure, answer: Any) -> None:
        row = SettingsRow(*configure[3:])
        self.settings.pop(row.pattern, None)
        if any(field is not None for field in row[1:]):
            self.settings[row.pattern] = row
        assert answer == Done()

    # --- small steps --------------------------------------------------------------------------------

    def _move(self, row: TaskRow, claimant: str, ms: int) -> TaskRow:
        row = row._replace(
            version=row.version + 1, claimant=claimant, at=self.now_ms + ms, modified=self.now_ms
        )
        self.rows[row.id] = row
        return row

    def _use_queue(self, queue: str, *, fifo: bool) -> None:
        """Decide the order of a queue that comes into being: nothing is in it, no integer id given."""
        if not self.in_queue(queue) and not self.last_serial.get(queue):
            (self.fifo_born.add if fifo else self.fifo_born.discard)(queue)

    def _next_serial(self, queue: str) -> int:
        self.last_serial[queue] = self.last_serial.get(queue, 0) + 1
        return self.last_serial[queue]


def repeated(answer: Any) -> Any:
    """Say what a repeated request is answered: only claims are answered with values."""
    if isinstance(answer, Modified):
        return Modified(without_values(answer.inserted), without_values(answer.changed))
    return (
        Renewed(without_values(answer.renewed), answer.lost)
        if isinstance(answer, Renewed)
        else answer
    )


def without_values(rows: Sequence[TaskRow]) -> tuple[TaskRow, ...]:
    return tuple(row._replace(value=b"") for row in rows)
