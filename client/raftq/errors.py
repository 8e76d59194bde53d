"""What can go wrong with a call, by blame: the caller's, the moment's, nobody's knowledge, the node's.

Every error has a stable ``code`` (of :data:`raftq.wire.codes.CODES`, or one of the client's own below) and
says with ``retryable`` whether the same call, with the same idempotency key, can succeed later. The
docstring of a class is what its message says when nothing more is known. The client has
retried what is retryable before it raises.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from raftq.wire.codes import CODES

if TYPE_CHECKING:
    from raftq.wire.documents import FailedPart, Problem


class RaftqError(Exception):
    """A call failed."""

    code: str = "internal"
    retryable: bool = False
    # Whether this answer settles a call of which an earlier try may have been done: the node looked
    # at the idempotency key, or would have refused that try as well.
    decisive: ClassVar[bool] = False

    def __init__(self, detail: str = "", *, code: str = "") -> None:
        super().__init__(detail or (type(self).__doc__ or "").partition("\n")[0])
        if code:
            self.code = code
            self.retryable = CODES[code].retryable if code in CODES else self.retryable
        self.index = 0  # log index that the refusal reflects; 0: not told
        self.field = ""  # path of the field that was refused
        self.limit: int | None = None  # the limit that was passed, and its name
        self.limit_name = ""
        self.retry_after_ms: int | None = None

    @property
    def detail(self) -> str:
        """What happened, in a sentence."""
        return str(self.args[0])


# --- the caller's: the same call will be refused again -------------------------------------------


class InvalidRequest(RaftqError, ValueError):  # noqa: N818 - reads as the refusal it is
    """The request has a field or a value that it cannot have."""

    code = "invalid"
    decisive = True


class NotFound(RaftqError, LookupError):  # noqa: N818 - reads as the refusal it is
    """There is no such task, or no such member."""

    code = "task_not_found"
    decisive = True


class ChangeRefused(RaftqError):  # noqa: N818 - reads as the refusal it is
    """The members of the cluster cannot be changed like this."""

    code = "change_refused"
    decisive = True


class ImportRefused(RaftqError):  # noqa: N818 - reads as the refusal it is
    """What the file holds cannot be taken into this store."""

    code = "import_refused"
    decisive = True


class DependencyError(RaftqError):
    """A part of the modification does not hold, and nothing of it was done.

    ``failed`` has every part that does not hold: its ``part`` (insert, change, delete, depend), its
    ``index`` in that list of the request, the ``id`` and the ``reason``.
    """

    code = "dependency"
    decisive = True

    def __init__(
        self, detail: str = "", *, code: str = "", failed: Sequence["FailedPart"] = ()
    ) -> None:
        super().__init__(detail, code=code)
        self.failed = list(failed)

    def __str__(self) -> str:
        parts = ", ".join(f"{part.part} {part.id}: {part.reason}" for part in self.failed)
        return f"{self.detail} ({parts})" if parts else self.detail


class TooLarge(RaftqError, ValueError):  # noqa: N818 - reads as the refusal it is
    """A size limit is passed; ``limit_name`` and ``limit`` say which."""

    code = "too_large"
    decisive = True


class Denied(RaftqError):  # noqa: N818 - reads as the refusal it is
    """The credentials are missing, or do not allow this."""

    code = "forbidden"


class Untrusted(RaftqError):  # noqa: N818 - reads as the refusal it is
    """Node and client do not trust each other's certificates."""

    code = "untrusted"


class MisuseError(RaftqError, RuntimeError):
    """The client is closed, or belongs to another process or event loop."""

    code = "misuse"


# --- the moment's: try again later ---------------------------------------------------------------


class Unavailable(RaftqError):  # noqa: N818 - reads as the state it is
    """The call was not done: no node could do it in time."""

    code = "unavailable"
    retryable = True


class TooBusy(RaftqError):  # noqa: N818 - reads as the state it is
    """The node has too much to do or to hold; ``limit_name`` says of what."""

    code = "too_busy"
    retryable = True


class ConnectionLost(RaftqError, ConnectionError):  # noqa: N818 - reads as the event it is
    """No node could be reached, or the connection ended before the answer came.

    ``maybe_done`` tells whether the request may have reached the node.
    """

    code = "connection_lost"
    retryable = True

    def __init__(self, detail: str = "", *, maybe_done: bool = False) -> None:
        super().__init__(detail)
        self.maybe_done = maybe_done


# --- nobody's knowledge --------------------------------------------------------------------------


class OutcomeUnknown(RaftqError):  # noqa: N818 - reads as the state it is
    """It is not known whether the call was done; repeat it with its idempotency key to learn it.

    Changes of the cluster have none, and can be repeated as they are.
    The key is remembered for some minutes. A call with another key would be a second call.
    """

    code = "outcome_unknown"
    retryable = True

    def __init__(self, detail: str = "", *, code: str = "", idempotency_key: str = "") -> None:
        super().__init__(detail, code=code)
        self.idempotency_key = idempotency_key


# --- the node's ----------------------------------------------------------------------------------


class ServerFailure(RaftqError):  # noqa: N818 - reads as the event it is
    """The node has met an error of its own; whether the call was done is not known."""


class ProtocolError(RaftqError):
    """What answered does not speak raftq, or another version of it.

    ``maybe_done`` tells whether it may be a node all the same, which has done the call.
    """

    code = "protocol"

    def __init__(self, detail: str = "", *, code: str = "", maybe_done: bool = False) -> None:
        super().__init__(detail, code=code)
        self.maybe_done = maybe_done


_BY_CODE: Final[dict[str, type[RaftqError]]] = {
    "bad_request": InvalidRequest,
    "invalid": InvalidRequest,
    "idempotency_key_reused": InvalidRequest,
    "unauthenticated": Denied,
    "forbidden": Denied,
    "not_found": ProtocolError,
    "task_not_found": NotFound,
    "member_not_found": NotFound,
    "method_not_allowed": ProtocolError,
    "not_acceptable": ProtocolError,
    "unsupported_media_type": ProtocolError,
    "change_refused": ChangeRefused,
    "import_refused": ImportRefused,
    "dependency": DependencyError,
    "too_large": TooLarge,
    "request_timeout": Unavailable,
    "unavailable": Unavailable,
    "store_full": TooBusy,
    "too_busy": TooBusy,
    "outcome_unknown": OutcomeUnknown,
    "internal": ServerFailure,
}


def error_of(problem: "Problem") -> RaftqError:
    """Make the error that a problem document describes; an unknown code is the node's failure."""
    known = _BY_CODE.get(problem.code, ServerFailure)
    error = known(problem.detail or problem.title, code=problem.code)
    error.retryable = problem.retryable
    if isinstance(error, DependencyError):
        error.failed = problem.failed or []
    error.index = problem.index or 0
    error.field = problem.field or ""
    error.limit = None if not problem.limit else problem.limit
    error.limit_name = problem.limit_name or ""
    error.retry_after_ms = problem.retry_after_ms or None
    return error
