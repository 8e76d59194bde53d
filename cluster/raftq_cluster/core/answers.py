"""Answers to queries: what can be asked of a state without changing it."""

from collections.abc import Callable, Iterable, Iterator
from heapq import nsmallest
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from raftq_cluster.core import guarding, modification, queries
from raftq_cluster.core.digest import digest
from raftq_cluster.core.outcomes import Outcome, QueueStats, SettingsRow, TaskRow
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
        names = [name for name in queues if name in query.names or name.startswith(query.prefixes)]
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
    if query.grants is None:
        refused = modification.refusal(state, query.modify)
    else:
        refused = guarding.modify_refusal(state, query.grants, query.modify)
    return refused or modification.preview(state, query.modify)


def _digest(state: "State", _query: queries.Digest, _: int) -> str:
    return digest(state)


_ANSWERS: Final[dict[type, Callable[["State", Any, int], Any]]] = {
    queries.Queues: _queues,
    queries.Tasks: _tasks,
    queries.AllSettings: _settings,
    queries.Time: _time,
    queries.DryRun: _dry_run,
    queries.Digest: _digest,
}
