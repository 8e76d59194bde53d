"""From EntroQ's requests to operations: arrivals of both protocols, modes of changes, docs by id and by key.

Protocol 1 gives arrivals as instants (``atMs``), protocol 2 as durations from the node's now (``byMs``).
What is a malformed request there is one here: ``invalid`` and ``not_here`` (501) refusals.
"""

from typing import Final

from raftq_cluster.core import operations as op
from raftq_cluster.core.settings import LEASE_MS_MAX
from raftq_cluster.servers.http.entroq.messages import Message
from raftq_cluster.service.building import Builder, with_ids
from raftq_cluster.service.doc_building import check_set
from raftq_cluster.service.names import check_claimant, check_doc_key, check_id, check_queue
from raftq_cluster.service.refusals import Refusal, over_limit
from raftq_cluster.service.values import check_err, check_value

LEASE_MS_DEFAULT: Final = 30_000
DURATION_MS_MAX: Final = 10 * 365 * 86_400_000
INSTANT_MS_MAX: Final = 2**53 - 1
SETS_MAX: Final = 64
QUEUES_MAX: Final = 64
_LEASE: Final = "CHANGE_LEASE"
_RESET: Final = "CHANGE_RESET_CLAIMS"
_MODES: Final = ("", "CHANGE_DEFAULT", _RESET, _LEASE)


class NotHereError(Exception):
    """The request is understood, and nobody serves it: 501."""


def claim_of(message: Message, key: str) -> op.Claim:
    """Build a claim. Raises Refusal."""
    queues = tuple(dict.fromkeys(message["queues"]))
    if not queues:
        raise Refusal("invalid", "a claim must name a queue", field="queues")
    if len(queues) > QUEUES_MAX:
        raise over_limit("too_large", f"{len(queues)} queues", "queues_max", QUEUES_MAX)
    for queue in queues:
        check_queue(queue, "queues")
    return op.Claim(
        op.CLAIM, key, b"", claimant_of(message["claimant_id"]), queues,
        lease_ms_of(message["duration_ms"]), 1, False,
    )  # fmt: skip


def claimant_of(claimant: str) -> str:
    """Check a claimant; nobody is the anonymous one."""
    if claimant:
        check_claimant(claimant, "claimantId")
    return claimant or op.ANONYMOUS


def lease_ms_of(duration_ms: int) -> int:
    """Give a lease as claims of EntroQ ask for it: settings bound it, see :class:`op.Claim`."""
    return -min(duration_ms, LEASE_MS_MAX) if duration_ms > 0 else -LEASE_MS_DEFAULT


class Building:
    """Builds one modification under one protocol."""

    def __init__(self, service: Builder, protocol: int) -> None:
        self._service = service
        self._protocol = protocol
        self._queues: list[tuple[str, str]] = []
        self._resets: list[str] = []

    def modify(self, message: Message, key: str) -> op.Transact:
        """Build it. Raises Refusal, NotHereError."""
        parts = sum(len(items) for items in message.values() if isinstance(items, list))
        if not parts:
            raise Refusal("invalid", "a modification must name at least one operation")
        maximum = self._service.limits.operations_max
        if parts > maximum:
            raise over_limit("too_large", f"{parts} parts", "operations_max", maximum)
        leases = [item for item in message["doc_changes"] if self._is_lease(item)]
        changes = [item for item in message["doc_changes"] if not self._is_lease(item)]
        docs = op.DocParts(
            [self._doc_insert(item) for item in message["doc_inserts"]],
            [self._doc_change(item) for item in changes],
            [self._doc_target(item) for item in message["doc_deletes"]],
            [self._doc_depend(item) for item in message["doc_depends"]],
            [self._set_lease(item) for item in leases],
        )
        inserts = [self._insert(item) for item in message["inserts"]]
        transact = op.Transact(
            op.TRANSACT, key, b"", claimant_of(message["claimant_id"]), inserts,
            [self._change(item) for item in message["changes"]],
            [self._target(item) for item in message["deletes"]],
            [self._target(item) for item in message["depends"]],
            self._queues, self._resets, docs,
        )  # fmt: skip
        return with_ids(self._service, transact)

    # --- tasks --------------------------------------------------------------------------------

    def _insert(self, data: Message) -> op.Insert:
        check_queue(data["queue"])
        if data["id"]:
            check_id(data["id"])
        ms = self._until(data)
        arrival = op.LEASE if self._protocol > 1 else op.HOLD_UNTIL  # as DELAY and AT, and signed
        return op.Insert(
            data["queue"], data["id"], arrival, max(0, ms), self._value(data["value"]),
            op.JSON, self._attempt(data), 0, self._err(data), False,
        )  # fmt: skip

    def _change(self, item: Message) -> op.Change:
        old, new, mode = self._parts(item)
        target = self._target(old)
        queue = new["queue"] or None
        if queue is not None:
            check_queue(queue)
        arrival, ms = self._lease(new)
        if mode == _LEASE:
            self._refuse_more(new, ("value", "attempt", "err", "id"))
            if queue is not None and queue != old["queue"]:
                raise Refusal("invalid", "a lease cannot move a task", field="newData.queue")
            return op.Change(*target, None, arrival, ms)
        if mode == _RESET:
            self._resets.append(target.id)
        value = self._value(new["value"])
        attempt, err = self._attempt(new), self._err(new)
        return op.Change(*target, queue, arrival, ms, value, op.JSON, attempt, None, err)

    def _target(self, item: Message) -> op.Target:
        check_id(item["id"])
        if item["queue"]:
            self._queues.append((item["id"], item["queue"]))
        return op.Target(item["id"], item["version"])

    # --- docs ---------------------------------------------------------------------------------

    def _doc_insert(self, data: Message) -> op.DocInsert:
        check_set(data["namespace"], data["key"], "docInserts")
        check_doc_key(data["secondary_key"], "docInserts.secondaryKey")
        if data["id"]:
            check_id(data["id"])
        arrival, ms = self._hold(data)
        return op.DocInsert(
            data["namespace"], data["key"], data["secondary_key"], data["id"], arrival, ms,
            self._value(data["content"]),
        )  # fmt: skip

    def _doc_change(self, item: Message) -> op.DocChange:
        old, new, mode = self._parts(item)
        if mode == _RESET:
            raise Refusal("invalid", "docs have no claims to reset", field="mode")
        if new["namespace"] and new["namespace"] != old["namespace"]:
            raise Refusal("invalid", "a doc cannot change its namespace", field="newData.namespace")
        target = self._doc_target(old)
        arrival, ms = self._hold(new)
        value = self._value(new["content"])
        return op.DocChange(target.namespace, target.id, target.version, arrival, ms, value)

    def _doc_target(self, item: Message) -> op.DocTarget:
        if not item["id"] and item["key"] is not None:
            raise NotHereError("docs are changed and deleted by id, not by key")
        check_set(item["namespace"], "", "docs")
        check_id(item["id"])
        return op.DocTarget(item["namespace"], item["id"], item["version"])

    def _doc_depend(self, item: Message) -> op.DocTarget:
        if item["id"] or item["key"] is None:
            return self._doc_target(item)
        self._need_protocol_2("depending on a set by its key")
        check_set(item["namespace"], item["key"], "docDepends")
        return op.DocTarget(item["namespace"], "", item["version"], item["key"])

    def _is_lease(self, item: Message) -> bool:
        return bool(item["mode"] == _LEASE)

    def _set_lease(self, item: Message) -> op.SetLease:
        old, new, _ = self._parts(item)
        key = old["key"]
        if old["id"] or key is None:
            raise Refusal("invalid", "a lease names a set of docs by its key", field="oldId.id")
        check_set(old["namespace"], key, "oldId")
        self._refuse_more(new, ("content", "id"))
        for field, own in (("namespace", old["namespace"]), ("key", key), ("secondary_key", "")):
            if new[field] not in ("", own):
                raise Refusal("invalid", f"a lease cannot set {field}", field=f"newData.{field}")
        arrival, ms = self._hold(new)
        return op.SetLease(old["namespace"], key, old["version"], arrival, ms)

    # --- what they share ----------------------------------------------------------------------

    def _parts(self, item: Message) -> tuple[Message, Message, str]:
        old, new, mode = item["old_id"], item["new_data"], item["mode"]
        if old is None or new is None:
            raise Refusal("invalid", "a change has an oldId and newData", field="changes")
        if mode not in _MODES:
            raise Refusal("invalid", f"there is no mode {mode[:40]!r}", field="mode")
        if mode in (_RESET, _LEASE):
            self._need_protocol_2(f"mode {mode}")
        return old, new, mode

    def _need_protocol_2(self, what: str) -> None:
        if self._protocol < 2:
            raise Refusal("invalid", f"{what} is protocol 2, and the request is protocol 1")

    def _refuse_more(self, new: Message, fields: tuple[str, ...]) -> None:
        for field in fields:
            if new[field] not in (None, "", 0, b"null"):
                raise Refusal(
                    "invalid", "a lease may carry its arrival and nothing else", field=field
                )

    def _until(self, data: Message) -> int:
        """Give the arrival: a duration under protocol 2, an instant under 1; 0 or less is now."""
        at_ms, by_ms = data["at_ms"], data["by_ms"]
        if self._protocol > 1:
            if at_ms:
                raise Refusal("invalid", "atMs is protocol 1: say byMs", field="atMs")
            return int(min(by_ms, DURATION_MS_MAX))
        if by_ms:
            raise Refusal("invalid", "byMs is protocol 2: say atMs", field="byMs")
        return int(
            min(at_ms, INSTANT_MS_MAX)
        )  # whatever is past means now, to the state machine too

    def _lease(self, data: Message) -> tuple[int, int]:
        """Give the arrival of a change of a task: held until a future time, else given back now."""
        ms = self._until(data)
        if ms <= 0:
            return op.DELAY, 0
        return (op.LEASE, ms) if self._protocol > 1 else (op.HOLD_UNTIL, ms)

    def _hold(self, data: Message) -> tuple[int, int]:
        """Give the same of a set of docs."""
        arrival, ms = self._lease(data)
        return (op.KEEP, 0) if arrival == op.DELAY else (arrival, ms)

    def _value(self, value: bytes | None) -> bytes:
        check_value(value or b"", self._service.limits)
        return value or b""

    def _attempt(self, data: Message) -> int:
        attempt: int = data["attempt"]
        if attempt < 0:
            raise Refusal("invalid", "an attempt is 0 or more", field="attempt")
        return attempt

    def _err(self, data: Message) -> str:
        err: str = data["err"]
        check_err(err, self._service.limits)
        return err


def claim_docs_of(query: Message, protocol: int, key: str) -> op.ClaimDocs:
    """Build a claim of sets of docs. Raises Refusal."""
    sets = [
        op.SetClaim(item["set"]["namespace"], item["set"]["key"] or "", item["omit_members"])
        for item in query["sets"]
        if item["set"] is not None
    ]
    if len(sets) != len(query["sets"]) or len(sets) > SETS_MAX:
        raise Refusal("invalid", f"a claim names 1 to {SETS_MAX} sets", field="sets")
    task = query["task_to_match"]
    if (sets or task is not None) and protocol < 2:
        raise Refusal("invalid", "sets and taskToMatch are protocol 2", field="claimQuery")
    lease_ms = query["duration_ms"]
    if sets and query["namespace"]:
        raise Refusal("invalid", "a claim names sets, or one key", field="sets")
    if not sets:
        sets = [op.SetClaim(query["namespace"], query["key"])]
        lease_ms = lease_ms or LEASE_MS_DEFAULT
    elif task is None and lease_ms <= 0:
        raise Refusal("invalid", "a claim's duration must be positive", field="durationMs")
    for item in sets:
        check_set(item.namespace, item.key, "claimQuery")
    matched = ("", 0, "") if task is None else (task["id"], task["version"], task["queue"])
    if task is not None:
        check_id(task["id"], "taskToMatch.id")
    claimant = claimant_of(query["claimant"])
    lease_ms = lease_ms_of(lease_ms)
    return op.ClaimDocs(op.CLAIM_DOCS, key, b"", claimant, sets, lease_ms, matched)
