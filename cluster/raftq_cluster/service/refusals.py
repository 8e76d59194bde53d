"""Every error that a caller sees goes through :class:`Refusal`, whatever the dialect."""

from collections.abc import Sequence

from msgspec import UNSET

from raftq.wire.codes import CODES
from raftq.wire.documents import FailedPart as FailedPartDocument
from raftq.wire.documents import Problem
from raftq_cluster.core.outcomes import Failed, FailedDoc, Refused, Unfinished

_TYPE_PREFIX = "urn:raftq:problem:"
RETRY_AFTER_MS = 1_000  # for refusals of the moment that know no better


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not always an error
    """A request is refused, failed, or of unknown outcome; ``code`` is of ``raftq.wire.codes``."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        index: int | None = None,
        field: str = "",
        limit: int | None = None,
        limit_name: str = "",
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.index = index  # log index that the refusal reflects
        self.field = field
        self.limit = limit
        self.limit_name = limit_name
        self.failed: Sequence[Failed] = ()
        retry_later = CODES[code].retryable and code != "outcome_unknown"
        self.retry_after_ms = RETRY_AFTER_MS if retry_later else None

    @property
    def status(self) -> int:
        """The HTTP status of this code."""
        return CODES[self.code].status

    def problem(self) -> Problem:
        """Write the RFC 9457 document."""
        code = CODES[self.code]
        return Problem(
            type=_TYPE_PREFIX + code.name,
            title=code.title,
            status=code.status,
            detail=self.detail,
            code=code.name,
            retryable=code.retryable,
            index=UNSET if self.index is None else self.index,
            failed=[_failed_part(part) for part in self.failed] or UNSET,
            field=self.field or UNSET,
            limit=UNSET if self.limit is None else self.limit,
            limit_name=self.limit_name or UNSET,
            retry_after_ms=UNSET if self.retry_after_ms is None else self.retry_after_ms,
        )


def refusal_of(outcome: Refused | Unfinished, index: int) -> Refusal:
    """Make a caller's error of what a backend said."""
    refusal = Refusal(outcome.code, outcome.detail, index=index)
    if isinstance(outcome, Refused):
        refusal.failed = outcome.failed
        if outcome.limit_name:
            refusal.limit_name, refusal.limit = outcome.limit_name, outcome.limit
    return refusal


def over_limit(code: str, what: str, limit_name: str, limit: int) -> Refusal:
    """Make the refusal that names its limit."""
    return Refusal(
        code, f"{what}: the limit {limit_name} is {limit}", limit=limit, limit_name=limit_name
    )


def _failed_part(part: Failed) -> FailedPartDocument:
    is_claimed = part.reason == "claimed"
    namespace, key = (part.namespace, part.key) if isinstance(part, FailedDoc) else ("", "")
    return FailedPartDocument(
        part=part.part,  # type: ignore[arg-type] # the core's constants are these literals
        index=part.position,
        id=part.id,
        reason=part.reason,  # type: ignore[arg-type] # the same
        version=UNSET if part.version < 0 else part.version,
        claimant=part.claimant if is_claimed else UNSET,
        until=part.until if is_claimed else UNSET,
        namespace=namespace or UNSET,
        key=key if namespace and (key or not part.id) else UNSET,
    )
