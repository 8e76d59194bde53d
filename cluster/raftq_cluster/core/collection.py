"""Collection: what is in queues and namespaces whose names ask for it is dropped once its time has come.

Nothing goes by itself: somebody asks what may go (:class:`Collectable`) and has it done (:class:`Collect`,
:class:`CollectDocs`), piece by piece, so that no entry has much to do. Whether a name is due is decided by log
time, when that is applied. Ready tasks go, and sets of docs that nobody holds; what is claimed, has not arrived, or
is in a paused queue stays. Source of the semantics: EntroQ 1.12, whose collector claims and deletes.
"""

from collections.abc import Collection
from heapq import nsmallest
from itertools import chain
from typing import TYPE_CHECKING, Final

from raftq_cluster.core import operations as op
from raftq_cluster.core.doc_modification import set_trail
from raftq_cluster.core.doc_store import Lock
from raftq_cluster.core.marked import window
from raftq_cluster.core.outcomes import Collected
from raftq_cluster.core.queries import Collectable, Collectables

if TYPE_CHECKING:
    from raftq_cluster.core.state import State

_NOTHING: Final = Collected(0)


def collect(state: "State", operation: op.Collect) -> Collected:
    """End up to ``limit`` ready tasks of a queue that is due."""
    _, name, limit = operation
    queue = state.queues.get(name)
    if queue is None or queue.paused or not _is_due(queue.collected_from, state.now_ms):
        return _NOTHING
    count = min(limit, len(queue.ready))
    for _ in range(count):
        state.end_ready(queue)
    return Collected(count)


def collect_docs(state: "State", operation: op.CollectDocs) -> Collected:
    """End docs of a set that nobody holds, in a namespace that is due."""
    _, namespace, key, ids = operation
    now_ms = state.now_ms
    docs = state.docs.set_of(namespace, key)
    if docs is None or not _is_due(docs.namespace.collected_from, now_ms):
        return _NOTHING
    there = [] if docs.lock.is_held(now_ms) else [id_ for id_ in ids if id_ in docs.docs]
    if not there:
        return _NOTHING
    for id_ in there:
        state.docs.delete_doc(docs, id_)
    version = docs.lock.version + 1
    state.docs.put_lock(namespace, key, Lock(version, "", now_ms, now_ms))
    state.trail.append(set_trail(namespace, key, version))
    return Collected(len(there))


def collectable(state: "State", query: Collectable, now_ms: int) -> Collectables:
    """Say what a collector would have collected now; of very many names and sets, in turns, a part."""
    now_ms = max(state.now_ms, now_ms)
    room = query.limit
    queues = []
    names, _ = state.marked.due(now_ms, query.turn)
    for name in names:
        queue = state.queues[name]
        count = 0 if queue.paused else min(len(queue.ready), room)
        if count:
            queues.append((name, count))
            room -= count
            if not room:
                break
    sets = []
    names, turn = state.docs.marked.due(now_ms, query.turn)
    spaces = [state.docs.sets_of(name) for name in names]
    for docs in window(chain.from_iterable(spaces), sum(map(len, spaces)), turn):
        if not room:
            break
        if docs.docs and not docs.lock.is_held(now_ms):
            ids = _first(docs.docs, room)
            sets.append((docs.namespace.name, docs.key, ids))
            room -= len(ids)
    malformed = state.marked.malformed + state.docs.marked.malformed
    return Collectables(tuple(queues), tuple(sets), malformed)


def _is_due(from_ms: int | None, now_ms: int) -> bool:
    return from_ms is not None and from_ms <= now_ms


def _first(ids: Collection[str], count: int) -> tuple[str, ...]:
    """Give all ids, or the first of more than ``count``."""
    return tuple(ids) if len(ids) <= count else tuple(nsmallest(count, ids))
