"""From a request to a document: bodies within their limits, queries, path segments, the key header.

Everything that a caller can get wrong here is refused with a stable code. Knows document types only
by their fields. Source: RFC 9110 (body headers), RFC 3986 (percent-encoding).
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from aiohttp import web

from raftq.wire.formats import MEDIA_TYPES, Format, MalformedError, decode
from raftq_cluster.servers.http.limits import RECEIVING_BYTES_MAX
from raftq_cluster.servers.http.negotiation import answer_format, body_format
from raftq_cluster.service.names import check_key
from raftq_cluster.service.refusals import Refusal, over_limit

T = TypeVar("T")

NAME_CHARS_SHOWN_MAX: Final = 100  # of what a caller wrote, in a refusal
KEY_HEADER: Final = "Idempotency-Key"
KEY_FIELD: Final = "idempotency_key"
PARAMETERS_MAX: Final = 2_000  # of a query: twice the ids that a listing may name


class BodyReader:
    """Reads request bodies, each within a limit, all that are on their way within another."""

    def __init__(self, body_bytes_max: int, patience_s: float) -> None:
        self._body_bytes_max = body_bytes_max
        self._patience_s = patience_s
        self._receiving_bytes = 0

    async def read(self, request: web.Request) -> bytes:
        """Give the whole body.

        Raises:
            Refusal: ``too_large``, ``too_busy``, ``request_timeout``, ``unsupported_media_type``
                (a content encoding).
        """
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Refusal("unsupported_media_type", "bodies must not have a Content-Encoding")
        if not self.would_take(request):
            raise self._too_large()
        if request.content.is_eof():  # it came with its head: nearly always
            body = request.content.read_nowait()
            if len(body) > self._body_bytes_max:
                raise self._too_large()
            return body
        return await self._receive(request)

    def would_take(self, request: web.Request) -> bool:
        """Tell whether a body of the announced length would be read."""
        length = request.content_length
        return length is None or length <= self._body_bytes_max

    async def _receive(self, request: web.Request) -> bytes:
        length = request.content_length
        reserved_bytes = self._body_bytes_max if length is None else length
        if self._receiving_bytes + reserved_bytes > RECEIVING_BYTES_MAX:
            raise over_limit(
                "too_busy",
                "too many bodies are on their way",
                "receiving_bytes_max",
                RECEIVING_BYTES_MAX,
            )
        self._receiving_bytes += reserved_bytes
        body = bytearray()
        try:
            async with asyncio.timeout(self._patience_s):
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > self._body_bytes_max:
                        raise self._too_large()
        except TimeoutError:
            raise Refusal(
                "request_timeout", f"the body did not arrive within {self._patience_s:g} s"
            ) from None
        finally:
            self._receiving_bytes -= reserved_bytes
        return bytes(body)

    def _too_large(self) -> Refusal:
        return over_limit(
            "too_large", "the body is too long", "body_bytes_max", self._body_bytes_max
        )


def require_format(request: web.Request) -> Format:
    """Tell the format of a body.

    Raises:
        Refusal: ``unsupported_media_type``.
    """
    content_type = request.headers.get("Content-Type", "")
    fmt = body_format(content_type)
    if fmt is None:
        known = " or ".join(MEDIA_TYPES.values())
        raise Refusal(
            "unsupported_media_type",
            f"Content-Type must be {known}"
            + (f", not {content_type[:100]}" if content_type else ""),
        )
    return fmt


def require_answer_format(request: web.Request, preferred: Format) -> Format:
    """Tell the format of the answer.

    Raises:
        Refusal: ``not_acceptable``.
    """
    fmt = answer_format(",".join(request.headers.getall("Accept", ())), preferred)
    if fmt is None:
        known = " and ".join(MEDIA_TYPES.values())
        raise Refusal("not_acceptable", f"the answer can be {known}")
    return fmt


def problem_format(request: web.BaseRequest) -> Format:
    """Tell the format of a refusal: what the caller accepts, JSON if that is nothing we write."""
    preferred = body_format(request.headers.get("Content-Type", "")) or "json"
    return answer_format(",".join(request.headers.getall("Accept", ())), preferred) or "json"


def read_document(body: bytes, type_: type[T], fmt: Format) -> T:
    """Read a document out of a body.

    Raises:
        Refusal: ``bad_request`` (not that format), ``invalid`` (a field).
    """
    try:
        return decode(body, type_, fmt)
    except MalformedError as error:
        if error.readable:
            raise Refusal("invalid", str(error), field=error.field) from None
        raise Refusal("bad_request", str(error)) from None


def read_query(
    raw_query: str, type_: type[T], fields: Mapping[str, bool], fixed: Mapping[str, str]
) -> T:
    """Read a document out of a query; ``fixed`` has the fields that the path gives.

    ``fields`` are the type's own, see :func:`document_fields`.

    A field that is a list takes its parameter many times, another one once.

    Raises:
        Refusal: ``bad_request`` (not UTF-8), ``invalid`` (unknown parameter, or a bad value).
    """
    given: dict[str, Any] = dict(fixed)
    for name, value in query_parameters(raw_query):
        if name not in fields or name in fixed:
            raise unknown_parameter(name)
        if fields[name]:
            given.setdefault(name, []).append(value)
        elif name in given:
            raise Refusal("invalid", f"{name} is given more than once", field=name)
        else:
            given[name] = value
    try:
        return msgspec.convert(given, type_, strict=False)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        raise Refusal("invalid", message, field=path.removesuffix("`")) from None


def query_parameters(raw_query: str) -> list[tuple[str, str]]:
    """Give the decoded parameters of a query in their order.

    Raises:
        Refusal: ``bad_request`` (not UTF-8), ``too_large``.
    """
    if not raw_query:
        return []
    try:
        return parse_qsl(
            raw_query, keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX
        )
    except UnicodeError:
        raise Refusal("bad_request", "the query is not percent-encoded UTF-8") from None
    except ValueError:
        raise over_limit(
            "too_large", "the query is too long", "parameters_max", PARAMETERS_MAX
        ) from None


def unknown_parameter(name: str) -> Refusal:
    """Make the refusal of a parameter that an address does not take: it may be misspelt."""
    shown = name[:NAME_CHARS_SHOWN_MAX]
    return Refusal("invalid", f"there is no query parameter {shown!r}", field=shown)


def document_fields(type_: type) -> dict[str, bool]:
    """Tell the fields of a document, and of each whether it is a list."""
    return {
        field.encode_name: isinstance(field.type, msgspec.inspect.ListType)
        for field in msgspec.inspect.type_info(type_).fields  # type: ignore[attr-defined]
    }


def path_segments(request: web.Request) -> list[str]:
    """Give the decoded segments of the path: ``/v1/tasks/a%2Fb`` has the last segment ``a/b``.

    Raises:
        Refusal: ``bad_request``: it is not percent-encoded UTF-8.
    """
    raw = request.rel_url.raw_path.encode("utf-8", "surrogateescape")
    try:
        return [unquote_to_bytes(segment).decode() for segment in raw.split(b"/")[1:]]
    except UnicodeDecodeError:
        raise Refusal("bad_request", "the path is not percent-encoded UTF-8") from None


def take_key_header(request: web.Request, document: Any) -> None:
    """Fill a document's idempotency key from the header, if there is one.

    Raises:
        Refusal: ``invalid``: empty, given twice, or another than the document's own; ``too_large``.
    """
    keys = request.headers.getall(KEY_HEADER, None)
    if keys is None:
        return
    key = keys[0]
    if len(keys) > 1 or not key or not key.isascii():
        raise Refusal("invalid", f"{KEY_HEADER} must be given once, in ASCII", field=KEY_HEADER)
    check_key(key, KEY_HEADER)
    if document.idempotency_key not in ("", key):
        raise Refusal(
            "invalid", f"{KEY_HEADER} and the document's idempotency_key differ", field=KEY_HEADER
        )
    document.idempotency_key = key
