"""Who comes in by which token: from a secret to the entrance with its rights.

Without tokens there is one entrance, the service itself, and nothing is looked up. With them, whoever
has not said who it is gets none.
"""

from typing import Final, NamedTuple

from raftq_cluster.auth.store import TokenStore
from raftq_cluster.service.authorised import Authorised
from raftq_cluster.service.entrance import Entrance
from raftq_cluster.service.facade import Service
from raftq_cluster.service.refusals import Refusal

_UNKNOWN: Final = "this token is not known"


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
        self._tokens = tokens

    @property
    def are_open(self) -> bool:
        """Whether nobody is asked who it is."""
        return self._tokens is None

    def admit(self, secret: str) -> Pass:
        """Let somebody in.

        Raises:
            Refusal: ``unauthenticated``.
        """
        if self._tokens is None:
            why = "this node has no tokens configured; nobody has to say who"
            raise Refusal("unauthenticated", why)
        found = self._tokens.identify(secret)
        if found is None:
            raise Refusal("unauthenticated", _UNKNOWN)
        digest, principal = found
        return Pass(Authorised(self.service, principal), digest, self._tokens.generation)

    def renew(self, held: Pass) -> Pass | None:
        """Give a pass that is good now: the same, that of changed rights, or none any more."""
        tokens = self._tokens
        if tokens is None or held.generation == tokens.generation:
            return held
        principal = tokens.find(held.digest)
        if principal is None:
            return None
        return Pass(Authorised(self.service, principal), held.digest, tokens.generation)


def require_overview(entrance: Entrance) -> None:
    """Refuse who may not see the whole node, as its metrics show it.

    Raises:
        Refusal: ``forbidden``.
    """
    if isinstance(entrance, Authorised):
        entrance.require_overview()
