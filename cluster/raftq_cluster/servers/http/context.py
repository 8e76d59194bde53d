"""What handlers are given: the service, and the parts of the server that answer with them."""

from dataclasses import dataclass

from raftq_cluster.observability.metrics import Metrics
from raftq_cluster.servers.http.answers import Answers
from raftq_cluster.servers.http.connection import Guard
from raftq_cluster.servers.http.reading import BodyReader
from raftq_cluster.service.doors import Doors
from raftq_cluster.service.facade import Service


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """The parts of one HTTP server."""

    service: Service
    doors: Doors
    answers: Answers
    bodies: BodyReader
    guard: Guard
    metrics: Metrics
