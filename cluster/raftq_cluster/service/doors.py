"""Who comes in by which token: from a secret to the entrance with its rights.

Without tokens there is one entrance, the service itself, and nothing is looked up. With them, whoever
has not said who it is meets the :class:`Stranger`'s entrance, which leads nowhere.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, NamedTuple, NoReturn

from raftq_cluster.auth.store import TokenStore
from raftq_cluster.backends.api import MemberChange, Sink
from raftq_cluster.core.operations import Claim, Operation
from raftq_cluster.core.outcomes import Outcome, Refused
from raftq_cluster.core.queries import Query
from raftq_cluster.service.authorised import Authorised, may_claim
from raftq_cluster.service.entrance import Entrance
from raftq_cluster.service.facade import Service
from raftq_cluster.service.held import HeldWaits
from raftq_cluster.service.refusals import Refusal

UNAUTHENTICATED: Final = "unauthenticated"
_MISSING: Final = "this node wants a token, and none was given"
_UNKNOWN: Final = "this token is not known"
_REMOVED: Final = "this token is not known any more"


class Pass(NamedTuple):
    """An entrance, good as long as the tokens are those of ``generation``."""

    entrance: Entrance
    digest: str
    generation: int


class Doors:
    """The entrances of one service.

    Args:
        service: what is behind them.
        tokens: who may come in; None: everybody, to everything.
    """

    def __init__(self, service: Service, tokens: TokenStore | None = None) -> None:
        self.service = service
        self.refused = 0
        """How often somebody could not come in."""
        self._tokens = tokens
        self._waits = HeldWaits(service)
        self.unnamed: Entrance = service if tokens is None else Stranger(service)
        """The entrance of those who have not said who they are."""
        if tokens is not None:
            tokens.on_change(self._recheck)

    @property
    def are_open(self) -> bool:
        """Whether nobody is asked who it is."""
        return self._tokens is None

    @property
    def generation(self) -> int:
        """Of the tokens; passes of another one must be renewed."""
        return 0 if self._tokens is None else self._tokens.generation

    def admit(self, secret: str) -> Pass:
        """Let somebody in. Where nobody is asked, every secret is as good as none.

        Raises:
            Refusal: ``unauthenticated``.
        """
        if self._tokens is None:
            return Pass(self.service, "", 0)
        found = self._tokens.identify(secret)
        if found is None:
            self.refused += 1
            raise Refusal(UNAUTHENTICATED, _UNKNOWN if secret else _MISSING)
        digest, principal = found
        entrance = Authorised(self.service, principal, digest=digest, waits=self._waits)
        return Pass(entrance, digest, self._tokens.generation)

    def renew(self, held: Pass) -> Pass | None:
        """Give a pass that is good now: the same, that of changed rights, or none any more."""
        tokens = self._tokens
        if tokens is None or held.generation == tokens.generation:
            return held
        principal = tokens.find(held.digest)
        if principal is None:
            return None
        entrance = Authorised(self.service, principal, digest=held.digest, waits=self._waits)
        return Pass(entrance, held.digest, tokens.generation)

    def _recheck(self) -> None:
        """End the waits of those who may not claim any more."""
        self._waits.recheck(self._verdict)

    def _verdict(self, digest: str, claim: Claim) -> Refused | None:
        assert self._tokens is not None
        principal = self._tokens.find(digest)
        if principal is None:
            return Refused(UNAUTHENTICATED, _REMOVED)
        return may_claim(principal, claim)


class Stranger:
    """The :class:`~raftq_cluster.service.entrance.Entrance` of who has not said who it is: all is refused."""

    def __init__(self, service: Service) -> None:
        self.limits = service.limits
        self.new_id = service.new_id
        self._service = service
        self._refused = Refused(UNAUTHENTICATED, _MISSING)

    def submit(self, operations: Sequence[Operation], sink: Sink) -> None:
        """Refuse all of them."""
        sink(self._service.status().index, [self._refused] * len(operations))

    def claim(self, claim: Claim, wait_ms: int, sink: Sink) -> Callable[[], None]:
        """Refuse it at once."""
        del claim, wait_ms
        sink(self._service.status().index, [self._refused])
        return _nothing_to_give_up

    async def run(self, operations: Sequence[Operation]) -> tuple[int, Sequence[Outcome]]:
        """Refuse all of them."""
        return self._service.status().index, [self._refused] * len(operations)

    async def wait_claim(self, claim: Claim, wait_ms: int) -> tuple[int, Outcome]:
        """Refuse it at once."""
        del claim, wait_ms
        return self._service.status().index, self._refused

    async def read(self, query: Query, *, stale: bool = False) -> NoReturn:
        """Raise a Refusal."""
        del query, stale
        raise self._refusal()

    async def change_members(self, change: MemberChange) -> None:
        """Raise a Refusal."""
        del change
        raise self._refusal()

    async def verify(self, entry: int) -> NoReturn:
        """Raise a Refusal."""
        del entry
        raise self._refusal()

    def export(self) -> NoReturn:
        """Raise a Refusal."""
        raise self._refusal()

    async def take_in(self, chunks: AsyncIterator[bytes]) -> NoReturn:
        """Raise a Refusal."""
        del chunks
        raise self._refusal()

    async def abandon_import(self) -> NoReturn:
        """Raise a Refusal."""
        raise self._refusal()

    def cluster(self) -> NoReturn:
        """Raise a Refusal."""
        raise self._refusal()

    def _refusal(self) -> Refusal:
        return Refusal(UNAUTHENTICATED, _MISSING, index=self._service.status().index)


def require_overview(entrance: Entrance) -> None:
    """Refuse who may not see the whole node, as its metrics show it.

    Raises:
        Refusal: ``forbidden``.
    """
    if isinstance(entrance, Authorised):
        entrance.require_overview()


def _nothing_to_give_up() -> None:
    """The wait is over already."""
