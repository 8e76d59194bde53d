"""Run the ``raftq`` command in this process, against a stand-in for the client library."""

from typing import Any, NamedTuple

from click.testing import CliRunner

from raftq.cli.invocation import Invocation
from raftq.cli.main import root
from raftq.tasks import Task
from raftq.wire.documents import ClusterReply, Member, Queue

NOW_MS = 1_000_000


class Ran(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


def invoke(
    client: Any, *arguments: str, stdin: str | bytes = "", env: dict[str, str] | None = None
) -> Ran:
    """Run one command. Stdout is no terminal, so rows are JSON lines unless ``-o`` says otherwise."""
    clean = {"RAFTQ_URL": None, "RAFTQ_CLAIMANT": None, "USER": "ada"}
    result = CliRunner(env=clean | (env or {})).invoke(
        root, arguments, input=stdin, obj=Invocation(connect=client.connect)
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


def task(id_: str = "t1", version: int = 1, **fields: Any) -> Task:
    """A task that is ready since ten seconds."""
    import msgspec

    value = fields.pop("value", None)
    kind: dict[str, Any] = (
        {"value_bytes": value}
        if isinstance(value, bytes)
        else {"value_json": msgspec.Raw(msgspec.json.encode(value))}
    )
    plain: dict[str, Any] = {"queue": "emails", "at": NOW_MS - 10_000} | fields
    return Task(id=id_, version=version, **plain, **kind)


def queue(name: str = "emails", **fields: Any) -> Queue:
    """An empty queue, unless told otherwise."""
    plain: dict[str, Any] = dict.fromkeys(("tasks", "ready", "claimed", "delayed", "max_claims"), 0)
    rest: dict[str, Any] = {"oldest_ready_at": None, "order": "random", "paused": False}
    return Queue(name=name, **(plain | rest | fields))


def cluster(**fields: Any) -> ClusterReply:
    """A cluster of one that leads."""
    member = Member(
        id="n1", role="leader", peer="", http="127.0.0.1:7677", text="127.0.0.1:7979",
        applied=77, lag=0, last_contact_ms=0, version="0.1.0",
    )  # fmt: skip
    plain: dict[str, Any] = {
        "cluster_id": "c1", "node": "n1", "backend": "raft", "durability": "fdatasync", "term": 3,
        "leader": "n1", "index": 77, "members": [member],
    }  # fmt: skip
    return ClusterReply(**(plain | fields))
