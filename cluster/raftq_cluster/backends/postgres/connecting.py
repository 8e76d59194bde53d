"""Connections: how they are made, and what their errors mean.

The one place that maps the driver's exceptions. Never says a password.
"""

import os
from typing import Any, Final, NamedTuple

import asyncpg

from raftq_cluster.config import StartError
from raftq_cluster.config.settings import without_password

CONNECT_S: Final = 10.0
_SESSION_ATTRIBUTES: Final = "target_session_attrs"
_SESSION_ATTRIBUTES_VARIABLE: Final = "PGTARGETSESSIONATTRS"
SCHEMA: Final = "raftq"
# Of one transaction, tried again at once: another node or program was in the way.
_TRY_AGAIN: Final = frozenset({
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "23505",  # unique_violation: two nodes inserted the same id or key
    "RQ001",  # this node's own row is gone
})  # fmt: skip
_LOCK_NOT_AVAILABLE: Final = "55P03"
_TOO_MANY_DOCS: Final = "RQ002"
_DATA_CLASSES: Final = ("22", "23", "54")  # something that one operation said cannot be stored


# Of the database or the connection. The driver's internal errors are among them: that is how it tells of
# a connection that ended while it was idle.
FAILURES: Final = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


_NO_DSN: Final = (
    "--postgres-dsn is no address of a database: postgresql://USER@HOST:PORT/NAME, with percent-encoded"
    " special characters (of a password)"
)
_NO_PRIMARY: Final = (
    "--postgres-dsn: none of its servers takes writes: a standby, or default_transaction_read_only is on; name"
    " the primary, or all hosts"
)


class Place(NamedTuple):
    """Where the tasks are."""

    dsn: str
    schema: str = SCHEMA
    listens: bool = True  # False: nothing that outlives a transaction, as behind PgBouncer


async def connect(place: Place) -> asyncpg.Connection:
    """Open a connection.

    Raises:
        StartError: there is no such server, or it does not let us in.
    """
    options: dict[str, Any] = {}
    if _SESSION_ATTRIBUTES not in place.dsn and _SESSION_ATTRIBUTES_VARIABLE not in os.environ:
        options[_SESSION_ATTRIBUTES] = "read-write"  # of several hosts the primary
    # Behind a pooler of transactions the next one may be another server's: nothing may be prepared.
    if not place.listens:
        options["statement_cache_size"] = 0
    try:
        return await _connected(place.dsn, options)
    except (*FAILURES, ValueError, TimeoutError) as error:
        if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
            raise StartError(_NO_PRIMARY) from error
        if type(error) is ValueError:  # what could not be read as a port may be of the password
            raise StartError(_NO_DSN) from None
        raise StartError(f"--postgres-dsn: cannot connect: {_sentence(error)}") from error


async def _connected(dsn: str, options: dict[str, Any]) -> asyncpg.Connection:
    connection = await asyncpg.connect(dsn, timeout=CONNECT_S, **options)
    # Servers before 14 do not report what the driver goes by.
    is_to_be_asked = _SESSION_ATTRIBUTES in options and connection.get_server_version() < (14,)
    if is_to_be_asked and await connection.fetchval("SHOW transaction_read_only") == "on":
        connection.terminate()
        raise asyncpg.TargetServerAttributeNotMatched(_NO_PRIMARY)
    return connection


def is_worth_another_try(error: BaseException) -> bool:
    """Tell whether a transaction failed for what others did at that moment."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _TRY_AGAIN


def is_session_gone(error: BaseException) -> bool:
    """Tell whether the row of this node's life was taken away."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate == "RQ001"


def is_of_one_operation(error: BaseException) -> bool:
    """Tell whether a transaction may have failed for what one of its operations said or waits for."""
    if isinstance(error, asyncpg.DataError | OverflowError | ValueError | TypeError):
        return True
    return isinstance(error, asyncpg.PostgresError) and (
        error.sqlstate in {_LOCK_NOT_AVAILABLE, _TOO_MANY_DOCS}
        or (error.sqlstate or "").startswith(_DATA_CLASSES)
    )


def is_too_many_docs(error: BaseException) -> bool:
    """Tell whether the sets that a transaction claims have more docs than fit into memory."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate == _TOO_MANY_DOCS


def is_lock_timeout(error: BaseException) -> bool:
    """Tell whether somebody holds a lock for longer than we wait."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate == _LOCK_NOT_AVAILABLE


def is_failure(error: BaseException) -> bool:
    """Tell whether an error is the database's or the connection's, and not a mistake of ours."""
    return isinstance(error, FAILURES)


def _sentence(error: BaseException) -> str:
    text = without_password(" ".join(str(error).split()).rstrip("."))
    return text or type(error).__name__
