"""Making a failing run smaller: fewer faults, fewer clients, as long as a promise stays broken.

One that has lost something stays one that does: what merely makes no progress any more is another failure.

Delta debugging over lists of numbers. Every try is a whole run, so their number is bounded.
"""

from collections.abc import Callable, Sequence
from typing import Final

from tests.simulation.options import Options
from tests.simulation.simulation import Result

RUNS_MAX: Final = 60


class Shrinker:
    """``run`` carries out a run; ``tell`` is told of progress."""

    def __init__(self, run: Callable[[Options], Result], tell: Callable[[str], None]) -> None:
        self._run = run
        self._tell = tell
        self._runs = 0
        self._may_stand_still = True

    def shrink(self, result: Result) -> Result:
        """A smaller run that breaks a promise too, or the same one."""
        self._may_stand_still = _stands_still(result)
        options = result.options
        faults = options.faults
        if faults is None:
            faults = tuple(fault.number for fault in result.planned if fault.at_s < result.seconds)
        result = self._smaller(result, faults, lambda o, kept: o._replace(faults=kept))
        clients = result.options.clients
        if clients is None:
            clients = tuple(range(result.clients))
        return self._smaller(result, clients, lambda o, kept: o._replace(clients=kept))

    def _smaller(
        self,
        result: Result,
        numbers: Sequence[int],
        with_only: Callable[[Options, tuple[int, ...]], Options],
    ) -> Result:
        kept, parts = tuple(numbers), 2
        while kept and self._runs < RUNS_MAX:
            size = max(1, len(kept) // parts)
            for start in range(0, len(kept), size):
                fewer = kept[:start] + kept[start + size :]
                found = self._try(with_only(result.options, fewer))
                if found is not None:
                    result, kept = found, fewer
                    parts = max(2, parts - 1)
                    break
            else:
                if size == 1:
                    return result
                parts = min(len(kept), parts * 2)
        return result

    def _try(self, options: Options) -> Result | None:
        if self._runs >= RUNS_MAX:
            return None
        self._runs += 1
        result = self._run(options)
        if result.broken and (self._may_stand_still or not _stands_still(result)):
            self._tell(f"still broken: {options.command()}")
            return result
        return None


def _stands_still(result: Result) -> bool:
    """Whether all that is wrong with a run is that it makes no progress."""
    return all(sentence.startswith("no progress") for sentence in result.broken)
