"""raftq: a task queue that keeps its promises on machines that fail. This is its client.

``import raftq`` costs next to nothing: each name is loaded when it is first used.
"""

from importlib import import_module

TYPE_CHECKING = False  # type checkers know this name; importing typing would be most of the cost
if TYPE_CHECKING:
    from typing import Any, Final

    from raftq.blocking import Client
    from raftq.client import AsyncClient
    from raftq.credentials import Credentials
    from raftq.docs import Doc, DocChange, DocInsert, DocSet, DocTarget
    from raftq.errors import (
        ConnectionLost,
        Denied,
        DependencyError,
        InvalidRequest,
        MisuseError,
        NotFound,
        OutcomeUnknown,
        ProtocolError,
        RaftqError,
        ServerFailure,
        TooBusy,
        TooLarge,
        Unavailable,
        Untrusted,
    )
    from raftq.tasks import Change, Insert, Modification, Modified, Renewed, Target, Task
    from raftq.worker import (
        Context,
        FatalWorker,
        MoveError,
        RetryError,
        StopWorker,
        Worker,
    )

_HOMES: "Final" = {
    "raftq.blocking": ("Client",),
    "raftq.client": ("AsyncClient",),
    "raftq.credentials": ("Credentials",),
    "raftq.docs": ("Doc", "DocChange", "DocInsert", "DocSet", "DocTarget"),
    "raftq.errors": (
        "ConnectionLost",
        "Denied",
        "DependencyError",
        "InvalidRequest",
        "MisuseError",
        "NotFound",
        "OutcomeUnknown",
        "ProtocolError",
        "RaftqError",
        "ServerFailure",
        "TooBusy",
        "TooLarge",
        "Unavailable",
        "Untrusted",
    ),
    "raftq.tasks": ("Change", "Insert", "Modification", "Modified", "Renewed", "Target", "Task"),
    "raftq.worker": (
        "Context",
        "FatalWorker",
        "MoveError",
        "RetryError",
        "StopWorker",
        "Worker",
    ),
}
_HOME_OF: "Final" = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AsyncClient",
    "Change",
    "Client",
    "ConnectionLost",
    "Context",
    "Credentials",
    "Denied",
    "DependencyError",
    "Doc",
    "DocChange",
    "DocInsert",
    "DocSet",
    "DocTarget",
    "FatalWorker",
    "Insert",
    "InvalidRequest",
    "MisuseError",
    "Modification",
    "Modified",
    "MoveError",
    "NotFound",
    "OutcomeUnknown",
    "ProtocolError",
    "RaftqError",
    "Renewed",
    "RetryError",
    "ServerFailure",
    "StopWorker",
    "Target",
    "Task",
    "TooBusy",
    "TooLarge",
    "Unavailable",
    "Untrusted",
    "Worker",
]


def __getattr__(name: str) -> "Any":
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'raftq' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
