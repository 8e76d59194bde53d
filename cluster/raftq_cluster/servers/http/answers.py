"""Answers: what every response carries, whatever it says.

Makes aiohttp responses out of encoded documents and refusals, and whole messages as bytes for peers
that never got as far as a request. Knows nothing of routes. Source: RFC 9110, RFC 9457.
"""

from collections.abc import Callable, Mapping
from math import ceil
from typing import Final

from aiohttp import web

from raftq.wire.documents import Problem
from raftq.wire.formats import MEDIA_TYPES, Format, encode
from raftq_cluster.servers.http.negotiation import PROBLEM_TYPES
from raftq_cluster.service.refusals import Refusal

SERVER: Final = "raftq"  # without versions: those are for the cluster's operators
_STALE: Final = {"X-Raftq-Consistency": "stale"}
_RETRY_LATER: Final = frozenset((429, 503))
CHALLENGE: Final = 'Bearer realm="raftq"'  # how to say who asks: RFC 6750
_ACCEPTED: Final = ", ".join(MEDIA_TYPES.values())


class Answers:
    """Makes the responses of one node; ``index`` tells the log index it has applied."""

    def __init__(self, node_id: str, index: Callable[[], int]) -> None:
        self._node_id = node_id
        self._index = index

    def document(
        self, index: int, document: object, fmt: Format, *, is_stale: bool = False
    ) -> web.Response:
        """Answer with a document that reflects ``index``; one that may be of the past says so."""
        headers = _STALE if is_stale else None
        return self.raw(encode(document, fmt), MEDIA_TYPES[fmt], index=index, headers=headers)

    def raw(
        self,
        body: bytes,
        content_type: str,
        *,
        status: int = 200,
        index: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        """Answer with bytes; without ``index`` the answer carries what this node has applied."""
        fields = {
            "Content-Type": content_type,
            "X-Raftq-Index": str(self._index() if index is None else index),
            "X-Raftq-Node": self._node_id,
            "Cache-Control": "no-store",
            "Server": SERVER,
        }
        if headers:
            fields.update(headers)
        return web.Response(status=status, body=body, headers=fields)

    def begun(self, content_type: str) -> web.StreamResponse:
        """Begin an answer whose bytes come piece by piece."""
        whole = self.raw(b"", content_type)
        return web.StreamResponse(headers=whole.headers)

    def empty(self, status: int, headers: Mapping[str, str]) -> web.Response:
        """Answer without a body."""
        response = self.raw(b"", "", status=status, headers=headers)
        del response.headers["Content-Type"]
        return response

    def problem(
        self, refusal: Refusal, fmt: Format, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        """Answer with the problem document of a refusal."""
        problem = refusal.problem()
        index = problem.index if isinstance(problem.index, int) else None
        return self.raw(
            encode(problem, fmt),
            PROBLEM_TYPES[fmt],
            status=problem.status,
            index=index,
            headers={**retry_headers(problem), **(headers or {})},
        )

    def last_words(self, refusal: Refusal) -> bytes:
        """Give a whole message that refuses a connection, which is closed after it."""
        problem = refusal.problem()
        body = encode(problem, "json")
        fields = {
            "Content-Type": PROBLEM_TYPES["json"],
            "Content-Length": str(len(body)),
            "X-Raftq-Index": str(self._index()),
            "X-Raftq-Node": self._node_id,
            "Server": SERVER,
            "Connection": "close",
            **retry_headers(problem),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"HTTP/1.1 {problem.status} {problem.title}\r\n{head}\r\n".encode() + body


def retry_headers(problem: Problem) -> dict[str, str]:
    """Give the headers that tell a caller what to do next: Retry-After (seconds), Accept, a challenge."""
    if problem.status == 401:
        return {"WWW-Authenticate": CHALLENGE}
    if problem.status == 415:
        return {"Accept": _ACCEPTED}
    if problem.status not in _RETRY_LATER or not isinstance(problem.retry_after_ms, int):
        return {}
    return {"Retry-After": str(max(1, ceil(problem.retry_after_ms / 1_000)))}
