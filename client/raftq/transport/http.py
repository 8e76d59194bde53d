"""Dialect v1 over HTTP/1.1: one pool of kept connections to one node.

The only module of the client that imports aiohttp, and imported only when an ``http://`` address is used. It
costs several times what the text protocol does; for places that only HTTP reaches.
"""

import asyncio
import io
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from yarl import URL

from raftq.credentials import Credentials
from raftq.errors import (
    ConnectionLost,
    MisuseError,
    ProtocolError,
    RaftqError,
    Untrusted,
    error_of,
)
from raftq.transport.reasons import reason_of
from raftq.transport.trust import Trust, explained
from raftq.transport.urls import Address
from raftq.wire.documents import Problem
from raftq.wire.formats import MalformedError, decode

CONNECT_S: Final = 3.0  # a node on the same continent answers within one
_PAUSE_S: Final = (
    600.0  # without a byte of an answer: a node hashes all it holds before the last one
)
_OK: Final = 200
CONNECTIONS_MAX: Final = 100  # to one node; further calls wait for one to be free
_WORDS_OF_A_TEXT_PORT: Final = (
    "'- error "  # as the library quotes what came instead of a status line
)
_JSON: Final = {"Content-Type": "application/json", "Accept": "application/json"}
_LARGE: Final = 2**20  # bytes; aiohttp wants a file of what is larger
_INDEX: Final = re.compile("[0-9]{1,20}")
_GATEWAY_STATUSES: Final = frozenset({502, 503, 504})  # of a proxy that reached no node


_NOBODY: Final = Credentials()


class _Route(NamedTuple):
    method: str
    path: str
    place: Callable[[dict[str, Any]], str] | None  # puts a GET's document into path and query


def _in_query(fields: dict[str, Any]) -> str:
    words = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in fields.items()
    }
    return f"?{urlencode(words, doseq=True)}" if words else ""


def _in_path(fields: dict[str, Any]) -> str:
    id_ = fields.pop("id")
    return f"/{quote(id_, safe='')}{_in_query(fields)}"


def _to_promote(fields: dict[str, Any]) -> str:
    return f"{_in_path(fields)}/promote"


_ROUTES: Final[dict[str, _Route]] = {
    "claim": _Route("POST", "/v1/claim", None),
    "modify": _Route("POST", "/v1/modify", None),
    "renew": _Route("POST", "/v1/renew", None),
    "forget": _Route("POST", "/v1/forget", None),
    "configure": _Route("PUT", "/v1/settings", None),
    "queues": _Route("GET", "/v1/queues", _in_query),
    "tasks": _Route("GET", "/v1/tasks", _in_query),
    "task": _Route("GET", "/v1/tasks", _in_path),
    "docs": _Route("GET", "/v1/docs", _in_query),
    "claim_docs": _Route("POST", "/v1/docs/claim", None),
    "namespaces": _Route("GET", "/v1/namespaces", _in_query),
    "settings": _Route("GET", "/v1/settings", _in_query),
    "time": _Route("GET", "/v1/time", _in_query),
    "cluster": _Route("GET", "/v1/cluster", _in_query),
    "add_member": _Route("POST", "/v1/cluster/members", None),
    "remove_member": _Route("DELETE", "/v1/cluster/members", _in_path),
    "promote_member": _Route("POST", "/v1/cluster/members", _to_promote),
    "replace_member": _Route("POST", "/v1/cluster/replace", None),
    "transfer": _Route("POST", "/v1/cluster/transfer", None),
    "verify": _Route("POST", "/v1/cluster/verify", None),
}


class HttpChannel:
    """A :class:`~raftq.transport.api.Channel` to one node's HTTP port."""

    def __init__(
        self,
        address: Address,
        credentials: Credentials = _NOBODY,
        *,
        connect_s: float = CONNECT_S,
    ) -> None:
        self._base = str(address)
        self._credentials = credentials
        self._trust = Trust(credentials) if address.has_tls else None
        self._secret: str | None = None  # read anew when it was refused
        self._connect_s = connect_s
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def send(self, verb: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Try a call once; see :class:`~raftq.transport.api.Channel`."""
        method, path, place = _ROUTES[verb]
        data = None if place is not None else io.BytesIO(body) if len(body) > _LARGE else body
        if place is not None:
            path += place(msgspec.json.decode(body))
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(self._connect_s, timeout_s))
        try:
            async with self._opened().request(
                method,
                URL(self._base + path, encoded=True),
                data=data,
                headers=self._introduction(),
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise explained(error, self._base) or self._failure_of(error) from error
        if response.status == _OK and response.content_type == "application/json":
            index = response.headers.get("X-Raftq-Index", "")
            return (int(index) if _INDEX.fullmatch(index) else 0), answer
        failure = self._error_in(response, answer)
        if failure.code == "unauthenticated":
            self._secret = None
        raise failure

    async def download(self, path: str) -> AsyncIterator[bytes]:
        """Give the bytes of an answer as they come, however many there are.

        Raises:
            ConnectionLost: there is no connection, it ended, or nothing came for too long.
            RaftqError: what the node answered.
        """
        try:
            async with self._stream("GET", path) as response:
                if response.status != _OK:
                    raise self._error_in(response, await response.read())
                async for piece in response.content.iter_any():
                    yield piece
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise explained(error, self._base) or self._failure_of(error) from error

    async def upload(
        self, method: str, path: str, pieces: AsyncIterator[bytes] | None = None
    ) -> bytes:
        """Send bytes as they come, and give the answer, a JSON document. Raises as :meth:`download`."""
        headers = {} if pieces is None else {"Content-Type": "application/octet-stream"}
        try:
            async with self._stream(method, path, data=pieces, headers=headers) as response:
                answer = await response.read()
                if response.status != _OK:
                    raise self._error_in(response, answer)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise explained(error, self._base) or self._failure_of(error) from error
        return answer

    def _stream(
        self,
        method: str,
        path: str,
        *,
        data: AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Begin a request of which only the pauses have a limit."""
        timeout = aiohttp.ClientTimeout(total=None, connect=self._connect_s, sock_read=_PAUSE_S)
        return self._opened().request(
            method,
            URL(self._base + path, encoded=True),
            data=data,
            headers={**self._introduction(), **(headers or {})},
            timeout=timeout,
            allow_redirects=False,
            expect100=data is not None,
        )

    async def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()
            await asyncio.sleep(0)  # aiohttp closes its sockets one turn of the loop later

    def _opened(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise MisuseError("the client is closed")
        if self._session is None:
            tls = True if self._trust is None else self._trust.context()
            connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=tls)
            self._session = aiohttp.ClientSession(
                connector=connector, headers=_JSON, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    def _introduction(self) -> dict[str, str]:
        if self._secret is None:
            self._secret = self._credentials.secret()
        return {"Authorization": f"Bearer {self._secret}"} if self._secret else {}

    def _failure_of(self, error: Exception) -> RaftqError:
        """Make the error that a request without an answer means, if TLS is not to blame."""
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return Untrusted(f"{self._base}: {error}")
        if isinstance(error, aiohttp.ClientConnectorError):
            return ConnectionLost(f"{self._base}: {reason_of(error)}")
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return ConnectionLost(f"{self._base}: {error}")
        if isinstance(error, aiohttp.ClientResponseError):
            # The library's own words quote the bytes over several lines.
            why = f"{self._base}: what answers there does not speak HTTP (raftq:// for a text port)"
            if _WORDS_OF_A_TEXT_PORT in error.message:
                return ProtocolError(why)  # it has read a line of the request, and no more
            return ConnectionLost(why, maybe_done=True)
        why = str(error) or "no answer in time"
        if self._trust is not None and isinstance(error, aiohttp.ServerDisconnectedError):
            why += self._trust.hint()
        return ConnectionLost(f"{self._base}: {why}", maybe_done=True)

    def _error_in(self, response: aiohttp.ClientResponse, answer: bytes) -> RaftqError:
        """Make the error that an answer other than a document means."""
        if response.content_type == "application/problem+json":
            try:
                return error_of(decode(answer, Problem, "json"))
            except MalformedError as error:
                why = f"{self._base}: a problem that cannot be read: {error}"
                return ProtocolError(why, maybe_done=True)
        what = f"{self._base} answered {response.status} {response.content_type}"
        if response.status in _GATEWAY_STATUSES:
            return ConnectionLost(what, maybe_done=True)
        # Somebody else's words for a success, or for a failure on the way: it may have reached a node.
        maybe_done = response.status < 300 or response.status >= 500
        return ProtocolError(f"{what}, which is no answer of raftq", maybe_done=maybe_done)
