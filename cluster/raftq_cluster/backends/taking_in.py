"""Taking in another store's state through operations: for backends whose state is a machine.

Parts go out some at a time and are said again until they are taken, whoever leads meanwhile: each is known by its
number, and taken once. Then this node's state is hashed as it stands, which takes its turns on the loop, and only if
the digest is that of the file is the end logged.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from raftq_cluster.backends.api import BackendError, Incoming, Sink
from raftq_cluster.core import importing
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.moving import MovingDigest
from raftq_cluster.core.operations import IMPORT, Import, Operation
from raftq_cluster.core.outcomes import Imported, Outcome, Refused, Unfinished

Submit: TypeAlias = Callable[[Sequence[Operation], Sink], None]

IN_FLIGHT_MAX: Final = 8  # parts: with 256 KiB each, two entries of the log
PATIENCE_S: Final = 30.0  # how long a step may be tried in vain: several elections
_PAUSE_S: Final = 0.05
SLICE_RECORDS: Final = 200  # hashed in one turn of the loop: one to two milliseconds
_AGAIN: Final = frozenset({"unavailable", "outcome_unknown"})


def refuse_unfinished(machine: Machine) -> None:
    """Let nobody see half a state.

    Raises:
        BackendError: ``unavailable``: an import is unfinished.
    """
    if machine.importing is not None:
        raise BackendError(importing.UNFINISHED.code, importing.UNFINISHED.detail)


async def take_in(submit: Submit, machine: Callable[[], Machine], incoming: Incoming) -> None:
    """Do a whole import; see :meth:`Backend.take_in`. ``machine`` gives this node's."""
    id_ = incoming.id
    taken = await _done(submit, Import(IMPORT, importing.BEGIN, id_, incoming.seq))
    sent: deque[tuple[Operation, asyncio.Future[Outcome]]] = deque()
    number = 0
    async for records in incoming.parts():
        if number >= taken:
            operation = Import(IMPORT, importing.PART, id_, number, tuple(records))
            sent.append((operation, _submitted(submit, operation)))
        number += 1
        if len(sent) >= IN_FLIGHT_MAX:
            await _done(submit, *sent.popleft())
        await asyncio.sleep(0)
    while sent:
        await _done(submit, *sent.popleft())
    digest = await moving_digest(machine)
    if digest != incoming.digest():
        raise BackendError(
            importing.REFUSED,
            f"the digest of what was taken in is {digest}, not {incoming.digest()} as the file says;"
            " nothing of it is served: raftq import --abandon drops it",
        )
    await _done(submit, Import(IMPORT, importing.END, id_, number))


async def abandon(submit: Submit) -> None:
    """Drop an unfinished import; see :meth:`Backend.abandon_import`."""
    outcome = await _submitted(submit, Import(IMPORT, importing.ABANDON, ""))
    if not isinstance(outcome, Imported):
        raise _error_of(outcome)


async def moving_digest(machine: Callable[[], Machine]) -> str:
    """Hash the state, slice by slice; that of another machine if a snapshot takes its place meanwhile."""
    while True:
        hashed = machine()
        digest, snapshot = MovingDigest(), hashed.snapshot(SLICE_RECORDS)
        try:
            for records in snapshot:
                for record in records:
                    digest.take(record)
                await asyncio.sleep(0)
        finally:
            snapshot.close()
        if machine() is hashed:
            return digest.result


async def _done(
    submit: Submit, operation: Operation, first: asyncio.Future[Outcome] | None = None
) -> int:
    """Have a step done, however often it must be said; gives how many parts were taken by then."""
    give_up_s = time.monotonic() + PATIENCE_S
    outcome = await (first or _submitted(submit, operation))
    while not isinstance(outcome, Imported):
        error = _error_of(outcome)
        if error.code not in _AGAIN or time.monotonic() > give_up_s:
            raise error
        await asyncio.sleep(_PAUSE_S)
        outcome = await _submitted(submit, operation)
    return outcome.parts


def _submitted(submit: Submit, operation: Operation) -> asyncio.Future[Outcome]:
    told: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def tell(_index: int, outcomes: Sequence[Outcome]) -> None:
        if not told.done():
            told.set_result(outcomes[0])

    submit([operation], tell)
    return told


def _error_of(outcome: Outcome) -> BackendError:
    if isinstance(outcome, Refused | Unfinished):
        return BackendError(outcome.code, outcome.detail)
    raise AssertionError(f"no step of an import has the outcome {outcome}")
