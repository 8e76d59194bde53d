"""The dialects over HTTP: v1 and EntroQ's. One session a client, no retries, no redirects."""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp

from raftq_cluster.core.outcomes import Claimed, Modified, TaskRow
from tests.chaos.clients.speaking import (
    BROKEN,
    NOBODY,
    PATIENT_S,
    SILENT,
    Address,
    Refusal,
    SurpriseError,
    Told,
    outcome_of,
    refusal,
)
from tests.chaos.networks.api import HTTP
from tests.simulation.history import DONE, REFUSED, UNKNOWN

_PATHS: Final = {"claim": "/v1/claim", "modify": "/v1/modify", "renew": "/v1/renew"}
_INDEX: Final = "X-Raftq-Index"
_CONNECT_S: Final = 1.0


class _Web:
    """Requests with JSON, sorted by what is known of them when they fail."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self, node: str, method: str, path: str, document: Any, wait_s: float
    ) -> tuple[int, int, Any] | Told:
        """Status, index and document of an answer, or what is known without one."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        host, port = self._address(node, HTTP)
        patience = aiohttp.ClientTimeout(total=PATIENT_S + wait_s, sock_connect=_CONNECT_S)
        try:
            async with self._session.request(
                method, f"http://{host}:{port}{path}", json=document, timeout=patience
            ) as answer:
                body = await answer.read()
                return answer.status, int(answer.headers.get(_INDEX, 0)), json.loads(body)
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError):
            return NOBODY
        except TimeoutError:
            return SILENT
        except (aiohttp.ClientError, OSError):
            return BROKEN

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()


class V1Http(_Web):
    """raftq's own dialect."""

    dialect = "v1 http"

    async def call(
        self, node: str, verb: str, document: Mapping[str, Any], wait_s: float = 0.0
    ) -> Told:
        """See ``Speaker``."""
        if verb == "tasks":
            words = urlencode(document, doseq=True)
            told = await self.ask(node, "GET", f"/v1/tasks?{words}", None, wait_s)
        else:
            told = await self.ask(node, "POST", _PATHS[verb], document, wait_s)
        if isinstance(told, Told):
            return told
        status, index, answer = told
        if status != 200:
            return refusal(answer["code"], index)
        return Told(DONE, index, outcome_of(verb, answer))


class EntroQ(_Web):
    """EntroQ's dialect. It has no keys: what is not answered is not known."""

    dialect = "entroq"

    async def call(
        self, node: str, verb: str, document: Mapping[str, Any], wait_s: float = 0.0
    ) -> Told:
        """See ``Speaker``. Claims one task at a time; renewals are changes of the arrival time."""
        if verb == "claim":
            path = "/api/v0/claim/wait" if wait_s else "/api/v0/claim"
            message: dict[str, Any] = {
                "claimantId": document["claimant"],
                "queues": document["queues"],
                "durationMs": str(document["lease_ms"]),
            }
        else:
            path = "/api/v0/modify"
            message = _modification(document)
        told = await self.ask(node, "POST", path, message, wait_s)
        if isinstance(told, Told):
            # A request that a node keeps repeating by itself may be done after we have left.
            return told
        status, index, answer = told
        if status == 200:
            return Told(DONE, index, _outcome(verb, answer))
        if status == 409:
            return Told(DONE, index, Refusal("dependency"), "dependency")
        if status in {429, 503}:
            return Told(REFUSED, index, code=str(status))
        if status in {504, 500}:
            return Told(UNKNOWN, index, code=str(status))
        raise SurpriseError(f"a client of EntroQ was told {status}: {answer}")


def _modification(document: Mapping[str, Any]) -> dict[str, Any]:
    """A v1 modify in EntroQ's words."""
    targets = [{"id": part["id"], "version": part["version"], "queue": part["queue"]}
               for part in document.get("deletes", ())]  # fmt: skip
    inserts = [
        {"queue": part["queue"], "value": part["value"]} for part in document.get("inserts", ())
    ]
    return {"claimantId": document["claimant"], "inserts": inserts, "deletes": targets}


def _outcome(verb: str, answer: Mapping[str, Any]) -> Any:
    if verb == "claim":
        task = answer.get("task")
        return Claimed((_row(task),) if task else ())
    return Modified(tuple(map(_row, answer["inserted"])), tuple(map(_row, answer["changed"])))


def _row(task: Mapping[str, Any]) -> TaskRow:
    value = task.get("value")
    return TaskRow(
        task["id"], task["version"], task["queue"], int(task["atMs"]),
        value.encode() if isinstance(value, str) else b"", 0, task["claimantId"], task["claims"],
        task["attempt"], 0, task["err"], int(task["createdMs"]), int(task["modifiedMs"]), 0,
    )  # fmt: skip


__all__ = ["EntroQ", "V1Http"]
