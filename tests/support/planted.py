"""State machines with one bug each, for tests that must find it: what a node could be if it were wrong.

group["n2"].replica.machine = planted("loses a key")
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from raftq_cluster.core.calendar import Calendar
from raftq_cluster.core.keys import KeyTable
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.operations import Insert, Modify
from raftq_cluster.core.outcomes import Modified
from raftq_cluster.core.seeds import Seeds
from raftq_cluster.core.task import Task


class _ForgetfulKeys(KeyTable):
    """Does not remember."""

    def add(self, *_record: Any) -> None:
        return


class _OtherSeeds(Seeds):
    """Chooses the one behind the chosen one."""

    __slots__ = ()

    def below(self, bound: int) -> int:
        return (super().below(bound) + 1) % bound


class _SleepyCalendar(Calendar):
    """Lets the last of those that arrive together arrive never."""

    __slots__ = ()

    def arrivals(self, now_ms: int) -> Iterator[Task]:
        arrived = list(super().arrivals(now_ms))
        yield from arrived[:-1]


class _Deaf(Machine):
    """Says of every modification that it is done, and does nothing."""

    def _modify(self, operation: Any) -> Any:
        del operation
        return Modified((), ())


class _Careless(Machine):
    """Keeps another value than it was given, of the same length."""

    def _modify(self, operation: Any) -> Any:
        modify = Modify(*operation)  # a plain tuple, where it was decoded
        inserts = [Insert(*insert) for insert in modify.inserts]
        wrong = tuple(insert._replace(value=insert.value[::-1]) for insert in inserts)
        return super()._modify(modify._replace(inserts=wrong))


def _with(name: str, part: type) -> Callable[[], Machine]:
    def make() -> Machine:
        machine = Machine()
        setattr(machine, name, part())
        return machine

    return make


_MACHINES: Final[dict[str, Callable[[], Machine]]] = {
    "loses a key": _with("keys", _ForgetfulKeys),
    "chooses another task": _with("seeds", _OtherSeeds),
    "skips an expiry": _with("calendar", _SleepyCalendar),
    "does not modify": _Deaf,
    "keeps a wrong value": _Careless,
}


def planted(bug: str) -> Machine:
    """Make an empty machine with this bug."""
    return _MACHINES[bug]()
