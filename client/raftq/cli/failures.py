"""What went wrong, why, and what to do next, in a few lines on stderr, and the exit code that says it.

Exit codes: docs/cli.md. Knows the stable codes of the wire, not who raised them.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

OK: Final = 0
ERROR: Final = 1
USAGE: Final = 2
CONFLICT: Final = 3
NOTHING: Final = 4  # no such task; a claim that found nothing
UNAVAILABLE: Final = 5  # no quorum, no leader, nobody there
DENIED: Final = 6
UNKNOWN: Final = 7
INTERRUPTED: Final = 130  # as shells report a process that SIGINT ended
BROKEN_PIPE: Final = 141  # and one that SIGPIPE ended

_ANSWERS_SOON: Final = "the command can be given again as it is"


class Advice(NamedTuple):
    """What a code means for who gave the command."""

    exit_code: int
    next: str = ""


_NOBODY_THERE: Final = Advice(
    UNAVAILABLE, "see that a node runs (raftqd dev starts one), and that --url names it"
)
_ADVICE: Final[dict[str, Advice]] = {
    "bad_request": Advice(USAGE),
    "invalid": Advice(USAGE),
    "too_large": Advice(USAGE, "send less, or raise the limit with the node's flag"),
    "unauthenticated": Advice(
        DENIED, "give a token: RAFTQ_TOKEN, RAFTQ_TOKEN_FILE or --token-file"
    ),
    "forbidden": Advice(DENIED, "use a token that has this right, or have it granted"),
    "untrusted": Advice(
        DENIED, "see that --ca (RAFTQ_CA) is the nodes' authority, and --url has a name of the node"
    ),
    "not_found": Advice(NOTHING),
    "task_not_found": Advice(NOTHING, "list what is there: raftq tasks QUEUE"),
    "member_not_found": Advice(NOTHING, "list who is there: raftq cluster"),
    "change_refused": Advice(CONFLICT, "look at the members as they are now: raftq cluster"),
    "import_refused": Advice(CONFLICT, "see docs/moving.md for what can be done"),
    "dependency": Advice(CONFLICT, "look at the tasks as they are now: raftq get ID"),
    "idempotency_key_reused": Advice(CONFLICT, "choose another --idempotency-key"),
    "store_full": Advice(ERROR, "work or delete tasks, or raise the node's --bytes-held-max"),
    "too_busy": Advice(ERROR, _ANSWERS_SOON),
    "request_timeout": Advice(ERROR, _ANSWERS_SOON),
    "unavailable": Advice(UNAVAILABLE, "see which nodes are there: raftq cluster"),
    "connection_lost": _NOBODY_THERE,
}


def exit_code_of(error: Exception) -> int:
    """Give the exit code that an error of the client library means."""
    return _advice(error).exit_code


def _advice(error: Exception) -> Advice:
    code = getattr(error, "code", "")
    if code == "outcome_unknown":
        key = getattr(error, "idempotency_key", "")
        again = f"give the command again with --idempotency-key {key}" if key else ""
        return Advice(UNKNOWN, again)
    return _ADVICE.get(code, Advice(ERROR))


def explain(error: Exception) -> Iterator[str]:
    """Give the lines that tell a person about an error of the client library."""
    advice = _advice(error)
    field = getattr(error, "field", "")
    where = f" (field {field})" if field else ""
    yield f"raftq: {getattr(error, 'detail', '') or error}{where}"
    for part in getattr(error, "failed", ()):
        yield f"  {_part(part)}"
    if advice.next:
        yield f"  next: {advice.next}"
    yield f"  code: {getattr(error, 'code', 'internal')} (exit {advice.exit_code})"


def _part(part: Any) -> str:
    reasons = {
        "exists": "this id is taken",
        "missing": "there is no such task",
        "version": f"its version is {part.version}",
        "claimed": f"{part.claimant} holds it",
    }
    return f"{part.part} {part.id}: {reasons.get(part.reason, part.reason)}"
