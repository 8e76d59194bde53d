"""All clients of a round: every kind, in every dialect that can say what it does."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

from tests.chaos.clients.client import Client, Surroundings
from tests.chaos.clients.http import EntroQ, V1Http
from tests.chaos.clients.kinds import (
    Poller,
    Producer,
    Reader,
    TaskQProducer,
    TaskQWorker,
    Worker,
)
from tests.chaos.clients.small import RegisterClient, SmallQueueClient
from tests.chaos.clients.speaking import Address
from tests.chaos.clients.text import TaskQ, V1Text
from tests.simulation.clients.small import Shared

_DOCUMENTS: Final[tuple[tuple[type[Any], tuple[type[Any], ...]], ...]] = (
    (Producer, (V1Http, V1Text, EntroQ)),
    (Worker, (V1Http, V1Http, V1Text, V1Text, EntroQ, EntroQ)),
    (Poller, (V1Http, V1Text, V1Text, EntroQ)),
    (Reader, (V1Http, V1Text)),
    (TaskQProducer, (TaskQ,)),
    (TaskQWorker, (TaskQ, TaskQ)),
)
_SMALL: Final[tuple[tuple[type[Any], str], ...]] = ((RegisterClient, "r"), (SmallQueueClient, "q"))


DIALECTS: Final = frozenset(dialect.dialect for _, dialects in _DOCUMENTS for dialect in dialects)


def crew(run: Surroundings, address: Address, chance_of: Callable[[str], Random]) -> list[Client]:
    """Make them. ``chance_of`` gives the stream of a client by its name."""
    return [
        make(run, f"c{number}", chance_of(f"c{number}"))
        for number, make in enumerate(_makers(address))
    ]


def _makers(address: Address) -> Iterator[Callable[..., Client]]:
    for kind, dialects in _DOCUMENTS:
        for dialect in dialects:
            yield lambda *known, kind=kind, dialect=dialect: kind(*known, dialect(address))
    for kind, prefix in _SMALL:
        shared = Shared(prefix)
        for dialect in (V1Http, V1Text, V1Text):
            yield lambda *known, kind=kind, dialect=dialect, shared=shared: kind(
                *known, dialect(address), shared
            )
