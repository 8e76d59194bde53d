"""Answers to queries: what can be asked of a state without changing it."""

from collections.abc import Callable, Iterable, Iterator
from heapq import nsmallest
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from raftq_cluster.core import guarding, modification, queries, transaction
from raftq_cluster.core.collection import collectable
from raftq_cluster.core.digest import digest
from raftq_cluster.core.operations import TRANSACT
from raftq_cluster.core.outcomes import (
    DocRow,
    NamespaceStats,
    Outcome,
    QueueStats,
    Refused,
    SettingsRow,
    TaskRow,
)
from raftq_cluster.core.task import Task

if TYPE_CHECKING:
    from raftq_cluster.core.state import State


def answer(state: "State", query: queries.Query, now_ms: int) -> Any:
    """Answer a query; ``now_ms`` is the time of now, not below the state's."""
    return _ANSWERS[type(query)](state, query, now_ms)


def _queues(state: "State", query: queries.Queues, _: int) -> list[QueueStats]:
    queues = state.queues
    names: Iterable[str] = queues
    if query.prefixes:
        exact = frozenset(query.names)
        names = [name for name in queues if name in exact or name.startswith(query.prefixes)]
    elif query.names:
        names = [name for name in dict.fromkeys(query.names) if name in queues]
    first = nsmallest(query.limit, (name for name in names if queues[name].size))
    return [queues[name].stats() for name in first]


def _tasks(state: "State", query: queries.Tasks, _: int) -> list[TaskRow]:
    found = (task for task in _candidates(state, query) if _matches(task, query))
    rows = [task.row() for task in islice(found, query.limit)]
    return [row._replace(value=b"") for row in rows] if query.omit_values else rows


def _candidates(state: "State", query: queries.Tasks) -> Iterator[Task]:
    if query.ids:
        for id_ in query.ids:
            task = state.tasks.get(id_)
            if task is not None:
                yield task
        return
    queue = state.queues.get(query.queue)
    if queue is not None:
        if not query.claimant:  # nobody holds a ready task
            yield from queue.ready
        yield from queue.waiting_tasks()


def _matches(task: Task, query: queries.Tasks) -> bool:
    if query.queue and task.queue.name != query.queue:
        return False
    return not query.claimant or (task.is_held() and task.claimant == query.claimant)


def _settings(state: "State", _query: queries.AllSettings, _: int) -> list[SettingsRow]:
    return state.settings.rows()


def _time(state: "State", _query: queries.Time, now_ms: int) -> int:
    return max(state.now_ms, now_ms)


def _dry_run(state: "State", query: queries.DryRun, _: int) -> Outcome:
    modify = query.modify
    hidden: set[str] | Refused = set()
    if query.grants is not None:
        hidden = guarding.modify_hidden(state, query.grants, modify[:8])  # type: ignore[arg-type] # a plain tuple
        if isinstance(hidden, Refused):
            return hidden
    if modify[0] == TRANSACT:
        return transaction.preview(state, modify, hidden)  # type: ignore[arg-type] # its kind says so
    return modification.refusal(state, modify, hidden) or modification.preview(state, modify)  # type: ignore[arg-type] # the same


def _docs(state: "State", query: queries.Docs, _: int) -> list[DocRow]:
    return state.docs.list_docs(query)


def _namespaces(state: "State", query: queries.Namespaces, now_ms: int) -> list[NamespaceStats]:
    return state.docs.statistics(query, max(state.now_ms, now_ms))


def _digest(state: "State", _query: queries.Digest, _: int) -> str:
    return digest(state)


_ANSWERS: Final[dict[type, Callable[["State", Any, int], Any]]] = {
    queries.Queues: _queues,
    queries.Tasks: _tasks,
    queries.Docs: _docs,
    queries.Namespaces: _namespaces,
    queries.AllSettings: _settings,
    queries.Time: _time,
    queries.DryRun: _dry_run,
    queries.Collectable: collectable,
    queries.Digest: _digest,
}
