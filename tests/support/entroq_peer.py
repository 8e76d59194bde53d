"""EntroQ over a connection: its requests as a client writes them, its answers read.

    async with serving() as node, entroq(node) as eq:
        (task,) = (await eq.modify(inserts=[eq.insert("/q", value=1)]))["inserted"]

Knows both protocols: ``eq.arrival(ms)`` is ``atMs`` in one, ``byMs`` in the other.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from tests.support.http_node import Answer, Node, Peer

Json = dict[str, Any]


class Entroq:
    """One client: a claimant, a protocol, a connection."""

    def __init__(self, node: Node, peer: Peer, protocol: int, claimant: str) -> None:
        self.node = node
        self.peer = peer
        self.protocol = protocol
        self.claimant = claimant

    # --- requests -------------------------------------------------------------------------------

    async def ask(self, method: str, path: str, document: Any = None) -> Answer:
        headers = () if self.protocol == 1 else (("entroq-protocol", str(self.protocol)),)
        answer = await self.peer.ask(method, f"/api/v0{path}", *headers, document=document)
        assert answer.headers["entroq-protocol"] == "1,2"
        assert answer.headers["content-type"] == "application/json"
        return answer

    async def done(self, method: str, path: str, document: Any = None) -> Any:
        answer = await self.ask(method, path, document)
        assert answer.status == 200, answer
        return answer.document()

    async def modify(self, **parts: Any) -> Any:
        return await self.done("POST", "/modify", {"claimantId": self.claimant, **parts})

    async def refused(self, **parts: Any) -> list[Json]:
        """Give the details of a dependency error, behind the first, which says what happened."""
        answer = await self.ask("POST", "/modify", {"claimantId": self.claimant, **parts})
        return dependency(answer)

    async def invalid(self, **parts: Any) -> str:
        answer = await self.ask("POST", "/modify", {"claimantId": self.claimant, **parts})
        assert (answer.status, answer.document()["code"]) == (400, 3), answer
        return str(answer.document()["message"])

    async def try_claim(self, *queues: str, lease_ms: int = 30_000, path: str = "/claim") -> Any:
        document = {"claimantId": self.claimant, "queues": queues, "durationMs": str(lease_ms)}
        return (await self.done("POST", path, document))["task"]

    async def get(self, path: str, **parameters: Any) -> Any:
        return await self.done("GET", f"{path}?{urlencode(parameters, doseq=True)}")

    async def tasks(self, **parameters: Any) -> list[Json]:
        found: list[Json] = (await self.get("/tasks", **parameters))["tasks"]
        return found

    async def docs(self, namespace: str = "/ns", **parameters: Any) -> list[Json]:
        query = {f"query.{name}": value for name, value in parameters.items()}
        found: list[Json] = (await self.get("/docs", **{"query.namespace": namespace}, **query))[
            "docs"
        ]
        return found

    # --- parts ----------------------------------------------------------------------------------

    def arrival(self, ms: int) -> Json:
        """Arrive in ``ms``; 0 is now."""
        if self.protocol > 1:
            return {"byMs": ms}
        return {"atMs": str(self.node.clock.now_ms + ms)} if ms else {"atMs": 0}

    def insert(self, queue: str, in_ms: int = 0, **fields: Any) -> Json:
        return {"queue": queue, **(self.arrival(in_ms) if in_ms else {}), **fields}

    def change(self, task: Json, in_ms: int = 0, *, mode: str = "", **fields: Any) -> Json:
        new = {"queue": task["queue"], "value": task["value"], **self.arrival(in_ms), **fields}
        return {"oldId": task_id(task), "newData": new, **({"mode": mode} if mode else {})}

    def doc(self, key: str = "k", in_ms: int = 0, **fields: Any) -> Json:
        arrival = self.arrival(in_ms) if in_ms else {}
        return {"namespace": "/ns", "key": key, **arrival, **fields}

    def change_doc(self, doc: Json, in_ms: int = 0, **fields: Any) -> Json:
        new = {"namespace": "/ns", "key": doc["key"], "content": doc["content"],
               **self.arrival(in_ms), **fields}  # fmt: skip
        return {"oldId": doc_id(doc), "newData": new}


def dependency(answer: Answer) -> list[Json]:
    assert answer.status == 409, answer
    document = answer.document()
    assert document["code"] == 10
    first, *rest = document["details"]
    assert (first["type"], first["msg"]) == ("DETAIL", document["message"])
    assert {detail.pop("@type") for detail in document["details"]} == {
        "type.googleapis.com/api.ModifyDep"
    }
    return list(rest)


def task_id(task: Json) -> Json:
    return {"id": task["id"], "version": task["version"], "queue": task["queue"]}


def doc_id(doc: Json) -> Json:
    return {"namespace": doc["namespace"], "id": doc["id"], "version": doc["version"]}


@asynccontextmanager
async def entroq(node: Node, protocol: int = 2, claimant: str = "me") -> AsyncIterator[Entroq]:
    """Connect a client."""
    async with node.peer() as peer:
        yield Entroq(node, peer, protocol, claimant)
