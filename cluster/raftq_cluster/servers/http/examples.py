"""Examples of documents for the OpenAPI document: one request and its answer per verb.

Every example is valid for the verb's types; tests read each one back.
"""

from typing import Any, Final, NamedTuple, TypeAlias

Json: TypeAlias = dict[str, Any]

_NOW_MS: Final = 1_800_000_000_000
_ID: Final = "w8k2m4tq9x3c1"


class Example(NamedTuple):
    """A request's document and the answer's."""

    request: Json
    reply: Json


_WAITING: Final[Json] = {
    "id": _ID,
    "version": 0,
    "queue": "/mail/out",
    "at": _NOW_MS,
    "claimant": "",
    "claims": 0,
    "attempt": 0,
    "priority": 0,
    "err": "",
    "created": _NOW_MS,
    "modified": _NOW_MS,
}
_CLAIMED: Final[Json] = _WAITING | {
    "version": 1,
    "at": _NOW_MS + 30_000,
    "claimant": "worker-1",
    "claims": 1,
}
_VALUE: Final[Json] = {"value": {"to": "ada@example.org"}}
_DOC: Final[Json] = {
    "namespace": "/mail/state",
    "id": "w8k2m4tq9x3d1",
    "version": 0,
    "key": "ada",
    "secondary_key": "",
    "claimant": "",
    "at": _NOW_MS,
    "created": _NOW_MS,
    "modified": _NOW_MS,
}
_CLUSTER: Final[Json] = {
    "cluster_id": "5f0c7f4e",
    "node": "n1",
    "backend": "raft",
    "durability": "fdatasync",
    "term": 1,
    "leader": "n1",
    "index": 42,
    "log_format": 1,
    "members": [
        {
            "id": "n1",
            "role": "leader",
            "peer": "127.0.0.1:7678",
            "http": "127.0.0.1:7677",
            "text": "127.0.0.1:7979",
            "applied": 42,
            "lag": 0,
            "last_contact_ms": 0,
            "version": "0.1.0",
            "clock": "ok",
            "clock_offset_ms": 0,
            "verified": 41,
        }
    ],
}

EXAMPLES: Final[dict[str, Example]] = {
    "claim": Example(
        {"queues": ["/mail/out"], "claimant": "worker-1", "lease_ms": 30_000, "wait_ms": 10_000},
        {"tasks": [_CLAIMED | _VALUE]},
    ),
    "modify": Example(
        {
            "claimant": "worker-1",
            "inserts": [{"queue": "/mail/sent"} | _VALUE],
            "deletes": [{"id": _ID, "version": 1}],
        },
        {"inserted": [_WAITING | {"id": "w8k2m4tq9x3c2", "queue": "/mail/sent"}], "changed": []},
    ),
    "renew": Example(
        {
            "claimant": "worker-1",
            "tasks": [{"id": _ID, "version": 1}, {"id": "gone", "version": 4}],
            "lease_ms": 30_000,
        },
        {
            "renewed": [_CLAIMED | {"version": 2}],
            "lost": [{"id": "gone", "reason": "missing"}],
        },
    ),
    "docs": Example({"namespace": "/mail/state", "key": "ada"}, {"docs": [_DOC | _VALUE]}),
    "claim_docs": Example(
        {
            "claimant": "worker-1",
            "sets": [{"namespace": "/mail/state", "key": "ada"}],
            "task": {"id": _ID, "version": 1},
        },
        {
            "sets": [
                {
                    "namespace": "/mail/state",
                    "key": "ada",
                    "version": 1,
                    "claimant": "worker-1",
                    "at": _NOW_MS + 30_000,
                    "docs": 1,
                }
            ],
            "docs": [
                _DOC | {"version": 1, "claimant": "worker-1", "at": _NOW_MS + 30_000} | _VALUE
            ],
        },
    ),
    "namespaces": Example(
        {"prefix": ["/mail/"]},
        {"namespaces": [{"name": "/mail/state", "docs": 1, "claimed": 0, "sets": 1}]},
    ),
    "forget": Example({"keys": ["b6f1-0007", "b6f1-0008"]}, {}),
    "queues": Example(
        {"prefix": ["/mail/"]},
        {
            "queues": [
                {
                    "name": "/mail/out",
                    "tasks": 3,
                    "ready": 1,
                    "claimed": 1,
                    "delayed": 1,
                    "max_claims": 1,
                    "oldest_ready_at": _NOW_MS,
                    "order": "random",
                    "paused": False,
                }
            ]
        },
    ),
    "tasks": Example({"queue": "/mail/out", "limit": 10}, {"tasks": [_WAITING | _VALUE]}),
    "task": Example({"id": _ID}, _WAITING | _VALUE),
    "time": Example({}, {"now": _NOW_MS}),
    "cluster": Example({}, _CLUSTER),
    "add_member": Example({"peer": "127.0.0.1:7688", "voter": True}, _CLUSTER),
    "remove_member": Example({"id": "n3"}, _CLUSTER),
    "promote_member": Example({"id": "n4"}, _CLUSTER),
    "replace_member": Example({"id": "n3", "by": "127.0.0.1:7708"}, _CLUSTER),
    "transfer": Example({"to": "n1"}, _CLUSTER),
    "verify": Example(
        {},
        {
            "entry": 42,
            "members": [
                {"id": "n1", "state": "same", "digest": "1c6fa1f9f1cd4b0d8c3f5dd0f9a2e3b7"},
                {"id": "n2", "state": "pending", "digest": ""},
            ],
        },
    ),
    "settings": Example(
        {}, {"settings": [{"pattern": "/mail/*", "order": "fifo", "paused": False}]}
    ),
    "configure": Example(
        {"pattern": "/mail/*", "order": "fifo", "paused": False, "lease_ms_max": 600_000}, {}
    ),
}
