"""Operations for tests of the Raft backend, and a sink that remembers."""

from collections.abc import Sequence

from raftq_cluster.core.operations import BYTES, CLAIM, MODIFY, Claim, Insert, Modify, Target
from raftq_cluster.core.outcomes import Outcome


def put(id_: str, queue: str = "/q", *, value: bytes = b"", at_ms: int | None = None) -> Modify:
    arrival, ms = (0, 0) if at_ms is None else (1, at_ms)
    insert = Insert(queue, id_, arrival, ms, value=value, kind=BYTES)
    return Modify(MODIFY, "", b"", "", (insert,), (), (), ())


def drop(id_: str, version: int = 1) -> Modify:
    return Modify(MODIFY, "", b"", "", (), (), (Target(id_, version),), ())


def take(queue: str = "/q", *, lease_ms: int = 30_000, limit: int = 1, key: str = "") -> Claim:
    return Claim(CLAIM, key, b"", "worker", (queue,), lease_ms, limit, False)


class Told:
    """A sink."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, list[Outcome]]] = []

    def __call__(self, index: int, outcomes: Sequence[Outcome]) -> None:
        self.calls.append((index, list(outcomes)))

    @property
    def outcomes(self) -> list[Outcome]:
        ((_, outcomes),) = self.calls
        return outcomes

    @property
    def index(self) -> int:
        ((index, _),) = self.calls
        return index
