"""What the OpenAPI document says holds for whatever schemathesis makes of it, against a live node.

Every documented operation, with data that the document allows and data that it does not, in JSON and
in MessagePack. Slow: some seconds per operation.
"""

import asyncio
import base64
import binascii
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import settings
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,
)
from tests.support.http_node import serving

from raftq_cluster.servers.http.openapi import openapi_document
from raftq_cluster.servers.http.reading import KEY_HEADER

# What is too large has a status of its own; a key that was used before may name another request.
REFUSED = ["400", "404", "405", "406", "409", "413", "415"]
TAKEN = ["2xx", "404", "409", "422", "429"]
CONFIG = schemathesis.Config.from_dict(
    {
        "checks": {
            "negative_data_rejection": {"expected-statuses": REFUSED},
            "positive_data_acceptance": {"expected-statuses": TAKEN},
        },
        # Beyond ASCII the document cannot say which characters are printable.
        "generation": {"codec": "ascii"},
    }
)
SCHEMA = schemathesis.openapi.from_dict(
    msgspec.json.decode(msgspec.json.encode(openapi_document())), config=CONFIG
)
ANY_TEXT = ("/v1/queues", "/v1/namespaces")
FILE = "/v1/import"
TASK_PARTS = ("inserts", "changes", "deletes", "depends")
DOC_PARTS = ("doc_inserts", "doc_changes", "doc_deletes", "doc_depends")
SET_PARTS = ("doc_leases", "doc_depends")
EXAMPLES = 30  # of each operation, besides the edges of every field
ANSWER_S = 20.0
WAIT_MS_MAX = 300_000


@schemathesis.serializer("application/msgpack")
def to_msgpack(ctx: schemathesis.SerializationContext, value: Any) -> bytes:
    """Write a body as a caller would: what base64 stands for is bytes in MessagePack."""
    try:
        return msgspec.msgpack.encode(with_bytes(value))
    except OverflowError:  # it has no integers beyond 64 bits
        return msgspec.msgpack.encode(with_bytes(with_small_integers(value)))


@schemathesis.deserializer("application/msgpack", "application/problem+msgpack")
def from_msgpack(ctx: schemathesis.DeserializationContext, response: schemathesis.Response) -> Any:
    """Read an answer into what the document's schema is about."""
    return msgspec.to_builtins(msgspec.msgpack.decode(response.content))


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """Serve from a thread; its clock stands still, and nobody waits for long."""
    loop = asyncio.new_event_loop()
    node = serving()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        host, port = (
            asyncio.run_coroutine_threadsafe(node.__aenter__(), loop)
            .result(ANSWER_S)
            .server.address
        )
        yield f"http://{host}:{port}"
        asyncio.run_coroutine_threadsafe(node.__aexit__(None, None, None), loop).result(ANSWER_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.slow
@SCHEMA.parametrize()
@settings(max_examples=EXAMPLES)
def test_the_node_does_what_its_document_says(case: schemathesis.Case, base_url: str) -> None:
    heed_what_no_schema_says(case)
    # In a query everything is text, and any text may be a prefix: there is no invalid one.
    excluded = [negative_data_rejection] if case.path in ANY_TEXT else []
    if case.path == FILE:  # what bytes are a file no schema can say
        excluded = [negative_data_rejection, positive_data_acceptance]
    case.call_and_validate(base_url=base_url, timeout=ANSWER_S, excluded_checks=excluded)


def heed_bounds(body: dict[str, Any]) -> None:
    """Put numbers that bound each other into their order."""
    names = [name for name in ("lease_ms_min", "lease_ms", "lease_ms_max") if name in body]
    numbers = [body[name] for name in names]
    if all(type(number) is int for number in numbers):
        body.update(zip(names, sorted(numbers), strict=True))


def heed_what_no_schema_says(case: schemathesis.Case) -> None:
    """Mend valid requests that break a rule between two fields, and shorten waits."""
    if case.path == "/v1/tasks" and not (case.query.get("queue") or case.query.get("id")):
        case.query["queue"] = "/a"
    if not isinstance(case.body, dict):
        return
    case.body = with_integers(case.body)
    if case.path == "/v1/settings":
        heed_bounds(case.body)
    if case.path == "/v1/modify":
        drop_repeated_ids(case.body, TASK_PARTS, ("id",))
        drop_repeated_ids(case.body, DOC_PARTS, ("namespace", "id"))
        drop_repeated_ids(case.body, SET_PARTS, ("namespace", "key"))
    if case.path == "/v1/docs/claim":
        drop_repeated_ids(case.body, ("sets",), ("namespace", "key"))
    wait_ms = case.body.get("wait_ms")
    if type(wait_ms) is int and 0 < wait_ms <= WAIT_MS_MAX:
        case.body["wait_ms"] = 1
    if is_key(case.body.get("idempotency_key")) and is_key(case.headers.get(KEY_HEADER)):
        del case.body["idempotency_key"]


def with_integers(value: Any) -> Any:
    """Write integers without a point: to JSON Schema 1.0 is one, to the node it is none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [with_integers(item) for item in value]
    if isinstance(value, dict):
        return {name: with_integers(item) for name, item in value.items()}
    return value


def with_small_integers(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value)
    if isinstance(value, list):
        return [with_small_integers(item) for item in value]
    if isinstance(value, dict):
        return {name: with_small_integers(item) for name, item in value.items()}
    return value


def drop_repeated_ids(
    modification: dict[str, Any], lists: Sequence[str], fields: Sequence[str]
) -> None:
    """Let each id (some fields together) stand in one part only."""
    met: set[tuple[str, ...]] = set()
    for name in lists:
        parts = modification.get(name)
        if not isinstance(parts, list):
            continue
        for part in list(parts):
            if not isinstance(part, dict):
                continue
            id_ = tuple(part[field] for field in fields if isinstance(part.get(field), str))
            if id_ in met:
                parts.remove(part)
            elif len(id_) == len(fields):
                met.add(id_)


def is_key(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch("[!-~]{1,128}", text) is not None


def with_bytes(value: Any) -> Any:
    """Replace base64 by the bytes it stands for, wherever a document has it."""
    if isinstance(value, list):
        return [with_bytes(item) for item in value]
    if not isinstance(value, dict):
        return value
    document = {name: with_bytes(item) for name, item in value.items()}
    text = document.get("value_b64")
    if isinstance(text, str):
        with suppress(binascii.Error, ValueError):
            document["value_b64"] = base64.b64decode(text, validate=True)
    return document
