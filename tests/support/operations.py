"""Makes operations that meet the tasks that there are: right and wrong ids, versions, claimants.

Chance is the caller's: ``pick`` chooses one of a sequence, be it hypothesis (which shrinks) or a seeded
``random.Random`` (which is quick).
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from raftq_cluster.core import operations as op
from tests.support.model import Model

T = TypeVar("T")
Pick: TypeAlias = Callable[[Sequence[Any]], Any]

QUEUES: Final = ("/a", "/a/b", "/b", "q")
PATTERNS: Final = ("/a", "/a*", "/*", "*", "q", "q/none")
CLAIMANTS: Final = ("", "w1", "w2")
KEYS: Final = ("k1", "k2", "k3")
NO_KEYS: Final = ("",) * 12  # most operations carry none, or little but repeats would happen
MARKS: Final = (b"1", b"1", b"2")
VALUES: Final = (b"", b"1", b'{"n":12}', b"\x00\xff\n")
MS: Final = (0, 1, 900, 1_024, 5_000, 61_000)  # within a bucket, at its edge, beyond it
STEPS_MS: Final = (0, 0, 1, 400, 1_023, 1_024, 4_000, 60_000, -3_000, 301_000)
BOTH: Final = (False, True)


class Maker:
    """Makes operations against what a model holds.

    Args:
        model: says which tasks there are.
        pick: chooses one of a sequence.
        ids: of the tasks that may come to be.
    """

    def __init__(self, model: Model, pick: Pick, ids: Sequence[str]) -> None:
        self.model = model
        self.pick = pick
        self.ids = ids
        self._makers = (
            *((self._claim,) * 5), *((self._modify,) * 8), *((self._settle,) * 3), *((self._renew,) * 2),
            self._configure, self._rest,
        )  # fmt: skip

    def operation(self) -> Any:
        return self.pick(self._makers)()

    def _head(self, kind: int) -> tuple[int, str, bytes]:
        return kind, self.pick((*NO_KEYS, *KEYS)), self.pick(MARKS)

    def _some(self, items: Sequence[T], most: int) -> list[T]:
        return [self.pick(items) for _ in range(self.pick(range(1, most + 1)))]

    def _claim(self) -> op.Claim:
        head = self._head(op.CLAIM)
        queues = tuple(self._some(QUEUES, 4))
        lease_ms = self.pick((0, 1, 700, 5_000, 30_000))
        limit = self.pick((1, 1, 1, 2, 5))
        return op.Claim(*head, self.pick(CLAIMANTS), queues, lease_ms, limit, self.pick(BOTH))

    def _modify(self) -> op.Modify:
        ids = list(dict.fromkeys(self._some(self.ids, 4)))
        if self.pick(range(16)) == 15:
            ids.append(ids[0])
        parts: dict[str, list[Any]] = {"insert": [], "change": [], "delete": [], "depend": []}
        for id_ in ids:
            # Mostly parts that can hold, so that whole modifications do.
            exists = id_ in self.model.rows
            fitting = ("change", "change", "delete", "depend") if exists else ("insert",) * 4
            part = self.pick((*fitting, *fitting, *parts))
            parts[part].append(self._part(part, id_))
        return op.Modify(*self._head(op.MODIFY), self._holder(ids[0]), *parts.values())

    def _part(self, part: str, id_: str) -> op.Insert | op.Change | op.Target:
        if part == "insert":
            return self._insert(id_)
        return self._change(id_) if part == "change" else op.Target(id_, self._version(id_))

    def _insert(self, id_: str) -> op.Insert:
        arrival = self.pick((op.KEEP, op.KEEP, op.AT, op.DELAY))
        return op.Insert(
            self.pick(QUEUES), id_, arrival, self._ms(arrival), self.pick(VALUES),
            self.pick((op.JSON, op.BYTES)), self.pick((0, 3)), self.pick((0, 1, -1)),
            self.pick(("", "boom")), self.pick(BOTH),
        )  # fmt: skip

    def _change(self, id_: str) -> op.Change:
        arrival = self.pick((op.KEEP, op.KEEP, op.AT, op.DELAY, op.LEASE, op.HOLD_UNTIL))
        return op.Change(
            id_, self._version(id_), self.pick((None, None, *QUEUES)), arrival, self._ms(arrival),
            self.pick((None, None, *VALUES)), self.pick((op.JSON, op.BYTES)), self.pick((None, 0, 3)),
            self.pick((None, 0, 1, -1)), self.pick((None, "", "bang")),
        )  # fmt: skip

    def _ms(self, arrival: int) -> int:
        if arrival in (op.AT, op.HOLD_UNTIL):
            return self.model.now_ms + int(self.pick((*MS, -5_000)))
        return max(1, self.pick(MS)) if arrival == op.LEASE else int(self.pick(MS))

    def _version(self, id_: str) -> int:
        row = self.model.rows.get(id_)
        return (row.version if row else 0) + int(self.pick((0, 0, 0, 0, 0, 0, 1)))

    def _holder(self, id_: str) -> str:
        """Mostly whoever holds the task."""
        row = self.model.rows.get(id_)
        return str(self.pick((row.claimant, row.claimant, *CLAIMANTS) if row else CLAIMANTS))

    def _renew(self) -> op.Renew:
        ids = self._some(self.ids, 3)
        targets = [op.Target(id_, self._version(id_)) for id_ in ids]
        return op.Renew(*self._head(op.RENEW), self._holder(ids[0]), targets, max(1, self.pick(MS)))

    def _settle(self) -> op.Settle:
        queue = self.pick(QUEUES)
        serials = [row.serial for row in self.model.in_queue(queue)]
        serial = self.pick((*serials, *serials, self.model.last_serial.get(queue, 0) + 1))
        action = self.pick((op.ACK, op.TOUCH, op.NACK))
        return op.Settle(*self._head(op.SETTLE), action, queue, serial, self.pick(MS))

    def _configure(self) -> op.Configure:
        order = self.pick((None, "random", "fifo", "priority"))
        paused = self.pick((None, None, False, True))
        pattern = self.pick(PATTERNS)
        return op.Configure(
            *self._head(op.CONFIGURE), pattern, order, paused, self.pick((None, 1, 10_000))
        )

    def _rest(self) -> op.Tick | op.Forget:
        rest: op.Tick | op.Forget = self.pick((op.Tick(), op.Forget(op.FORGET, ("k1", "unknown"))))
        return rest
