"""Waiting claims of those who came in by a token: a wait ends when its token loses the right to it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from raftq_cluster.backends.api import Sink
from raftq_cluster.core.operations import Claim
from raftq_cluster.core.outcomes import Outcome, Refused
from raftq_cluster.service.facade import Service


class _Wait(NamedTuple):
    digest: str  # of the token
    claim: Claim
    sink: Sink
    give_up: Callable[[], None]


class HeldWaits:
    """The waits of one service that were checked when they began, and can be checked again."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._waits: dict[int, _Wait] = {}
        self._count = 0  # of all that ever began: numbers them

    def __len__(self) -> int:
        return len(self._waits)

    def begin(self, digest: str, claim: Claim, wait_ms: int, sink: Sink) -> Callable[[], None]:
        """Claim and wait as :meth:`Service.claim` does, on behalf of the token of this digest."""
        self._count += 1
        number = self._count
        is_over = False

        def told(index: int, outcomes: Sequence[Outcome]) -> None:
            nonlocal is_over
            is_over = True
            self._waits.pop(number, None)
            sink(index, outcomes)

        give_up = self._service.claim(claim, wait_ms, told)
        if not is_over:
            self._waits[number] = _Wait(digest, claim, sink, give_up)

        def leave() -> None:
            self._waits.pop(number, None)
            give_up()

        return leave

    def recheck(self, verdict: Callable[[str, Claim], Refused | None]) -> None:
        """End each wait whose digest and claim are refused now, with that refusal."""
        index = self._service.status().index
        for number, (digest, claim, sink, give_up) in list(self._waits.items()):
            refused = verdict(digest, claim)
            if refused is not None and self._waits.pop(number, None) is not None:
                give_up()
                sink(index, [refused])
