"""The OpenAPI 3.1 document, made from the table of routes and the types of the documents.

Pure: the same code gives the same document, byte for byte. Statuses and codes come from
``raftq.wire.codes``, schemas from msgspec; what a type cannot say is added here.
Source: OpenAPI 3.1.0, RFC 9457.
"""

import sys
from collections.abc import Iterable
from functools import cache
from inspect import cleandoc
from typing import Any, Final, TypeAlias

import msgspec

from raftq.wire.codes import CODES
from raftq.wire.documents import Problem
from raftq.wire.formats import MEDIA_TYPES
from raftq_cluster.servers.http.examples import EXAMPLES
from raftq_cluster.servers.http.negotiation import PROBLEM_TYPES
from raftq_cluster.servers.http.reading import KEY_FIELD, KEY_HEADER, document_fields
from raftq_cluster.servers.http.routes import ROUTES, PageRoute, VerbRoute
from raftq_cluster.service.names import KEY_BYTES_MAX
from raftq_cluster.service.verbs import VERBS

Json: TypeAlias = dict[str, Any]

API_VERSION: Final = "1.0"
_TOKEN: Final = "token"  # noqa: S105 - a name in the document
_SECURITY: Final[list[Json]] = [{_TOKEN: []}, {}]  # a node without a tokens file wants none
_REF: Final = "#/components/schemas/{name}"
_BASE64: Final = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
# No space, no control character. Unicode's other unprintable ones are refused too, but readers of
# the document differ in the regular expressions that could say so.
_NAME: Final = r"^[^\u0000- \u007f-\u00a0\u00ad]*$"
# Fields of which at most one may be given.
_EXCLUSIVE: Final = {
    "Insert": (("at", "delay_ms"), ("value", "value_b64")),
    "Change": (
        ("at", "delay_ms"),
        ("at", "lease_ms"),
        ("delay_ms", "lease_ms"),
        ("value", "value_b64"),
    ),
    "DocInsert": (("value", "value_b64"),),
    "DocChange": (("value", "value_b64"),),
    "DocDepend": (("id", "key"),),
}
_NAMES: Final = frozenset(
    ("queue", "queues", "id", "claimant", "pattern", "keys", "idempotency_key", "namespace")
)
_PARTS: Final = (  # of which a modification has one
    "inserts", "changes", "deletes", "depends",
    "doc_inserts", "doc_changes", "doc_deletes", "doc_depends", "doc_leases",
)  # fmt: skip
_DESCRIPTION: Final = """
A task queue that keeps its promises on machines that fail. **claim** and **modify** are atomic log
entries agreed by Raft; any node answers. Times are milliseconds since the epoch. Bodies and answers are
JSON or MessagePack; errors are RFC 9457 problem documents with a stable `code`. A node with a tokens file wants
`Authorization: Bearer TOKEN` with everything but the probes and this document.
"""


@cache
def openapi_document() -> Json:
    """Make the document. It is shared: do not change it."""
    paths: Json = {}
    for route in ROUTES:
        operation = _verb(route) if isinstance(route, VerbRoute) else _page(route)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "raftq",
            "version": API_VERSION,
            "summary": "Claim and modify tasks, atomically, on any node of a cluster",
            "description": cleandoc(_DESCRIPTION),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [
            {"name": "tasks", "description": "Claim, modify, renew, look."},
            {"name": "operations", "description": "Probes, metrics, this document."},
        ],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "responses": _responses(),
            "headers": _headers(),
            "securitySchemes": {
                _TOKEN: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of the node's tokens file, where it has one.",
                }
            },
        },
    }


def _verb(route: VerbRoute) -> Json:
    verb = VERBS[route.verb]
    example = EXAMPLES[route.verb]
    operation: Json = {
        "operationId": route.verb,
        "tags": ["tasks"],
        "summary": route.summary,
        "description": _prose(verb.request.__doc__ or ""),
        "security": _SECURITY,
    }
    if route.source == "body":
        if KEY_FIELD in document_fields(verb.request):
            operation["parameters"] = [_key_parameter()]
        operation["requestBody"] = {
            "required": True,
            "content": _contents(MEDIA_TYPES.values(), verb.request.__name__, example.request),
        }
    elif parameters := _parameters(route):
        operation["parameters"] = parameters
    reply = _contents(MEDIA_TYPES.values(), verb.reply.__name__, example.reply)
    operation["responses"] = {
        "200": _response(_prose(verb.reply.__doc__ or ""), reply),
        **_problems(route.refuses),
    }
    return operation


def _page(route: PageRoute) -> Json:
    operation: Json = {
        "operationId": route.page,
        "tags": ["operations"],
        "summary": route.summary,
        "responses": {
            "200": _page_answer(route),
            **_problems(route.refuses),
        },
    }
    if route.needs_token:
        operation["security"] = _SECURITY
    if route.takes:
        operation["requestBody"] = {
            "required": True,
            "content": {route.takes: {"schema": {"type": "string", "format": "binary"}}},
        }
    if route.parameters:
        operation["parameters"] = [
            {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
            for name, text in route.parameters
        ]
    return operation


def _page_answer(route: PageRoute) -> Json:
    if route.reply is None:
        contents: Json = {media_type: {"schema": {}} for media_type in route.media_types}
        return _response(route.summary, contents)
    schema = {"$ref": _REF.format(name=route.reply.__name__)}
    contents = {media_type: {"schema": schema} for media_type in MEDIA_TYPES.values()}
    return _response(_prose(route.reply.__doc__ or ""), contents)


def _parameters(route: VerbRoute) -> list[Json]:
    schema = _schemas_of(VERBS[route.verb].request)[VERBS[route.verb].request.__name__]
    needed = schema.get("required", ())
    return [
        _query_parameter(name, field, is_needed=name in needed)
        if name not in route.path_fields
        else {"name": name, "in": "path", "required": True, "schema": field}
        for name, field in schema["properties"].items()
    ]


def _query_parameter(name: str, field: Json, *, is_needed: bool) -> Json:
    parameter: Json = {"name": name, "in": "query", "schema": field}
    if is_needed:
        parameter["required"] = True
    if field.get("type") == "array":
        parameter |= {"style": "form", "explode": True}
    return parameter


def _key_parameter() -> Json:
    return {
        "name": KEY_HEADER,
        "in": "header",
        "description": "Names this request: a retry with the same key gets the first answer. "
        "Fills the document's `idempotency_key`.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": KEY_BYTES_MAX,
            "pattern": "^[!-~]+$",
        },
    }


def _problems(codes: Iterable[str]) -> Json:
    """Give one response per status; codes that share one share the response."""
    return {
        str(status): {"$ref": f"#/components/responses/{'.'.join(names)}"}
        for status, names in _by_status(codes).items()
    }


def _responses() -> Json:
    content = {
        media_type: {"schema": {"$ref": _REF.format(name="Problem")}}
        for media_type in PROBLEM_TYPES.values()
    }
    groups = {tuple(names) for route in ROUTES for names in _by_status(route.refuses).values()}
    return {
        ".".join(names): _response(
            "; ".join(f"`{name}`: {CODES[name].title}" for name in names), content
        )
        for names in sorted(groups)
    }


def _by_status(codes: Iterable[str]) -> dict[int, list[str]]:
    by_status: dict[int, list[str]] = {}
    for name in (*codes, "internal"):
        by_status.setdefault(CODES[name].status, []).append(name)
    return dict(sorted(by_status.items()))


def _response(description: str, content: Json) -> Json:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _headers()}
    return {"description": description, "headers": headers, "content": content}


def _contents(media_types: Iterable[str], schema: str, example: Json) -> Json:
    return {
        media_type: {"schema": {"$ref": _REF.format(name=schema)}, "example": example}
        for media_type in media_types
    }


def _headers() -> Json:
    return {
        "X-Raftq-Index": {
            "description": "The log index that the answer reflects.",
            "required": True,
            "schema": {"type": "integer", "minimum": 0},
        },
        "X-Raftq-Node": {
            "description": "The node that answered.",
            "required": True,
            "schema": {"type": "string"},
        },
        "X-Raftq-Consistency": {
            "description": "`stale`: the answer may be of the past, as was asked for. Left out otherwise.",
            "schema": {"type": "string", "enum": ["stale"]},
        },
    }


def _schemas() -> Json:
    types: list[type] = [Problem]
    for route in ROUTES:
        if isinstance(route, VerbRoute):
            verb = VERBS[route.verb]
            types.append(verb.reply)
            if route.source == "body":
                types.append(verb.request)
        elif route.reply is not None:
            types.append(route.reply)
    schemas = _schemas_of(*types)
    return {name: schemas[name] for name in sorted(schemas)}


def _schemas_of(*types: type) -> Json:
    _, schemas = msgspec.json.schema_components(types, ref_template=_REF)
    for name, schema in schemas.items():
        if "description" in schema:
            schema["description"] = _prose(schema["description"])
        for field, field_schema in schema.get("properties", {}).items():
            _say_more(field, field_schema, is_checked=name != "TasksRequest")
        pairs = _EXCLUSIVE.get(name, ())
        if pairs:
            schema["allOf"] = [{"not": {"required": list(pair)}} for pair in pairs]
        if name == "DocDepend":
            schema["anyOf"] = [{"required": ["id"]}, {"required": ["key"]}]
        if name == "ModifyRequest":
            schema["anyOf"] = [
                {"required": [part], "properties": {part: {"minItems": 1}}} for part in _PARTS
            ]
    return dict(schemas)


def _prose(docstring: str) -> str:
    """Turn a docstring into Markdown."""
    return cleandoc(docstring).replace("``", "`")


def _say_more(field: str, schema: Json, *, is_checked: bool) -> None:
    """Add what msgspec's types do not say of a field; a listing just finds no impossible name."""
    if schema.get("contentEncoding") == "base64":
        schema["pattern"] = _BASE64
    bounded = schema.get("items", schema)
    if is_checked and field in _NAMES and "maxLength" in bounded:
        bounded["pattern"] = _NAME


def openapi_text() -> str:
    """Write the document as it is committed: indented, one line feed at the end."""
    return msgspec.json.format(msgspec.json.encode(openapi_document()), indent=2).decode() + "\n"


if __name__ == "__main__":
    sys.stdout.write(openapi_text())
