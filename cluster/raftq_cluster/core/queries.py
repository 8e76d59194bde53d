"""Queries: questions to the state that change nothing. Every backend answers the same ones."""

from typing import NamedTuple, TypeAlias

from raftq_cluster.core.operations import Modify, Transact
from raftq_cluster.core.rights import Grants


class Queues(NamedTuple):
    """Statistics of the queues that match any prefix or name (neither: all), sorted by name.

    Answer: ``list[QueueStats]``. A queue is listed while a task is in it.
    """

    prefixes: tuple[str, ...]
    names: tuple[str, ...]
    limit: int


class Tasks(NamedTuple):
    """Tasks of a queue ("" = any) and of ids (empty = any; else the answer is in their order).

    ``claimant`` keeps only tasks that it holds under a live lease. Answer: ``list[TaskRow]``.
    """

    queue: str
    claimant: str
    ids: tuple[str, ...]
    limit: int
    omit_values: bool


class Docs(NamedTuple):
    """Docs of a namespace: of ids (in their order), of one key, or of keys from start to before end.

    Without ids they are sorted by key, secondary key and id. ``key`` None, and "" for an end of the
    range: not given. Answer: ``list[DocRow]``.
    """

    namespace: str
    ids: tuple[str, ...]
    key: str | None
    key_start: str
    key_end: str
    limit: int
    omit_values: bool


class Namespaces(NamedTuple):
    """Statistics of the namespaces with docs that match any prefix or name (neither: all), by name.

    Answer: ``list[NamespaceStats]``.
    """

    prefixes: tuple[str, ...]
    names: tuple[str, ...]
    limit: int


class AllSettings(NamedTuple):
    """All settings, sorted by pattern. Answer: ``list[SettingsRow]``."""


class Time(NamedTuple):
    """The time of the log, in ms. Answer: ``int``."""


class DryRun(NamedTuple):
    """What a modification would do now. Answer: the ``Outcome`` it would have.

    ``grants`` are the caller's, None for one that may do everything.
    """

    modify: Modify | Transact
    grants: Grants | None = None


class Collectable(NamedTuple):
    """What may be collected now, at most ``limit`` tasks and docs; see :mod:`raftq_cluster.core.collection`.

    ``turn`` counts the questions: of very many names, each answer is about some. Answer:
    :class:`Collectables`.
    """

    limit: int
    turn: int


class Collectables(NamedTuple):
    """``(queue, tasks)``, ``(namespace, key, ids)``, and how many names ask for it in a way nobody understands."""

    queues: tuple[tuple[str, int], ...]
    sets: tuple[tuple[str, str, tuple[str, ...]], ...]
    malformed: int


class Digest(NamedTuple):
    """The digest of the whole state. Answer: ``str`` (32 hexadecimal digits)."""


Query: TypeAlias = (
    Queues | Tasks | Docs | Namespaces | AllSettings | Time | DryRun | Collectable | Digest
)
