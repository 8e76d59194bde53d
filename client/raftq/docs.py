"""Docs as callers hold them: values under keys, in sets with one lock each, that change together with tasks.

A :class:`Doc` is a copy as of one version of its set. Its parts go into ``modify`` beside those of tasks.
"""

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from raftq.values import decode_json, encode_value
from raftq.wire import documents


class DocTarget(NamedTuple):
    """A doc at its set's version: what a delete or a depend names."""

    namespace: str
    id: str
    version: int


class DocSet(Struct, frozen=True, kw_only=True):
    """The lock of a set, as of one version; ``at`` is the end of its lease, in ms since the epoch."""

    namespace: str
    key: str
    version: int
    claimant: str = ""
    at: int = 0
    docs: int = 0

    def lease(self, lease_ms: int) -> documents.DocLease:
        """Give the part of a modification that holds the set for ``lease_ms`` from now; 0 gives it back."""
        return documents.DocLease(
            namespace=self.namespace, key=self.key, version=self.version, lease_ms=lease_ms
        )

    def depend(self) -> documents.DocDepend:
        """Give the part that holds only if the set, with all its docs, has this version."""
        return documents.DocDepend(namespace=self.namespace, key=self.key, version=self.version)


class Doc(Struct, frozen=True, kw_only=True, dict=True):
    """A doc. ``version``, ``claimant`` and ``at`` (the end of the lease) are those of its set."""

    namespace: str
    id: str
    version: int
    key: str
    secondary_key: str = ""
    claimant: str = ""
    at: int = 0
    created: int = 0
    modified: int = 0
    value_json: Raw | UnsetType = msgspec.field(default=UNSET, name="value")
    value_bytes: bytes | UnsetType = msgspec.field(default=UNSET, name="value_b64")

    @cached_property
    def value(self) -> Any:
        """The value: decoded JSON, or bytes. None if it is null, or was left out of the listing."""
        if not isinstance(self.value_bytes, UnsetType):
            return self.value_bytes
        return None if isinstance(self.value_json, UnsetType) else decode_json(self.value_json)

    def delete(self) -> DocTarget:
        """Give the part of a modification that deletes this doc."""
        return DocTarget(self.namespace, self.id, self.version)

    def depend(self) -> DocTarget:
        """Give the part that holds only if the doc's set has this version."""
        return DocTarget(self.namespace, self.id, self.version)

    def change(self, *, value: object = UNSET, lease_ms: int = 0) -> "DocChange":
        """Give the part that changes this doc; without ``lease_ms`` its set is given back."""
        return DocChange(self.namespace, self.id, self.version, value, lease_ms=lease_ms)


@dataclass(frozen=True, slots=True)
class DocInsert:
    """A new doc. Without ``id`` the node makes one; ``value`` is anything that JSON can say, or bytes."""

    namespace: str
    key: str
    value: object = None
    _: KW_ONLY
    secondary_key: str = ""
    id: str | None = None
    lease_ms: int = 0


@dataclass(frozen=True, slots=True)
class DocChange:
    """A new value of a doc; made by :meth:`Doc.change`."""

    namespace: str
    id: str
    version: int
    value: object = UNSET
    _: KW_ONLY
    lease_ms: int = 0


def add_docs(
    request: documents.ModifyRequest,
    value_bytes_max: int,
    inserts: Iterable[DocInsert],
    changes: Iterable[DocChange],
    deletes: Iterable[Doc | DocTarget],
    depends: Iterable[Doc | DocTarget | documents.DocDepend],
    leases: Iterable[documents.DocLease],
) -> None:
    """Write the parts about docs into a request.

    Raises:
        InvalidRequest: a value is no JSON.
        TooLarge: a value is too large.
    """
    request.doc_inserts = [_insert_document(insert, value_bytes_max) for insert in inserts]
    request.doc_changes = [_change_document(change, value_bytes_max) for change in changes]
    request.doc_deletes = [
        documents.DocTarget(namespace=doc.namespace, id=doc.id, version=doc.version)
        for doc in deletes
    ]
    request.doc_depends = [_depend_document(depend) for depend in depends]
    request.doc_leases = list(leases)


def _insert_document(insert: DocInsert, value_bytes_max: int) -> documents.DocInsert:
    value, value_b64 = encode_value(insert.value, value_bytes_max)
    return documents.DocInsert(
        namespace=insert.namespace,
        key=insert.key,
        secondary_key=insert.secondary_key,
        id=UNSET if insert.id is None else insert.id,
        value=value,
        value_b64=value_b64,
        lease_ms=insert.lease_ms,
    )


def _change_document(change: DocChange, value_bytes_max: int) -> documents.DocChange:
    value, value_b64 = (
        (UNSET, UNSET) if change.value is UNSET else encode_value(change.value, value_bytes_max)
    )
    return documents.DocChange(
        namespace=change.namespace,
        id=change.id,
        version=change.version,
        value=value,
        value_b64=value_b64,
        lease_ms=change.lease_ms,
    )


def _depend_document(depend: Doc | DocTarget | documents.DocDepend) -> documents.DocDepend:
    if isinstance(depend, documents.DocDepend):
        return depend
    return documents.DocDepend(namespace=depend.namespace, id=depend.id, version=depend.version)


def with_doc_value(doc: Doc, other: documents.DocInsert | documents.DocChange) -> Doc:
    """Give ``doc`` with the value that was asked for: answers do not repeat it."""
    if other.value is UNSET and other.value_b64 is UNSET:
        return doc
    return msgspec.structs.replace(doc, value_json=other.value, value_bytes=other.value_b64)
