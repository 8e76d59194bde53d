"""The client's calls about docs, beside their parts in ``modify``: a face of :class:`raftq.AsyncClient`."""

from collections.abc import Iterable

from msgspec import UNSET

from raftq.caller import Caller
from raftq.docs import Doc, DocSet
from raftq.tasks import Reflecting, Target, Task
from raftq.wire import documents
from raftq.wire.docs import (
    ClaimDocsRequest,
    DocsRequest,
    NamespaceCounts,
    NamespacesReply,
    NamespacesRequest,
    SetClaim,
)


class ClaimedDocs(Reflecting, kw_only=True):
    """The held sets in the order of the call, and their docs by set, secondary key and id."""

    sets: list[DocSet]
    docs: list[Doc]


class DocList(Reflecting, kw_only=True):
    """The answer of a listing."""

    docs: list[Doc]


class DocCalls:
    """What can be asked and claimed of docs."""

    claimant: str
    _caller: Caller

    async def claim_docs(
        self,
        *sets: tuple[str, str] | DocSet,
        lease_ms: int = 30_000,
        task: Task | Target | None = None,
        omit_docs: bool = False,
        idempotency_key: str = "",
    ) -> ClaimedDocs:
        """Hold sets, each a (namespace, key), all or none.

        They are this client's for ``lease_ms``, or exactly as long as the lease of ``task`` lasts. A set can
        be held while no doc is in it.

        Raises:
            DependencyError: somebody else holds one, or the task is not held at that version.
        """
        names = [(item.namespace, item.key) if isinstance(item, DocSet) else item for item in sets]
        request = ClaimDocsRequest(
            sets=[
                SetClaim(namespace=namespace, key=key, omit_docs=omit_docs)
                for namespace, key in names
            ],
            claimant=self.claimant,
            lease_ms=lease_ms,
            task=UNSET if task is None else documents.Target(id=task.id, version=task.version),
        )
        return await self._caller.change("claim_docs", request, ClaimedDocs, idempotency_key)

    async def docs(  # noqa: PLR0913 - the fields of the question
        self,
        namespace: str,
        *,
        key: str | None = None,
        key_start: str = "",
        key_end: str = "",
        id: str | Iterable[str] = (),  # noqa: A002 - the field's name
        limit: int = 100,
        omit_values: bool = False,
        stale: bool = False,
    ) -> list[Doc]:
        """List docs: of some ids (in their order), of one key, or of keys from start to before end."""
        request = DocsRequest(
            namespace=namespace,
            id=[id] if isinstance(id, str) else list(id),
            key=UNSET if key is None else key,
            key_start=key_start,
            key_end=key_end,
            limit=limit,
            omit_values=omit_values,
            consistency="stale" if stale else "linearizable",
        )
        return (await self._caller.ask("docs", request, DocList)).reply.docs

    async def namespaces(
        self,
        prefix: str | Iterable[str] = (),
        exact: str | Iterable[str] = (),
        limit: int = 1_000,
        *,
        stale: bool = False,
    ) -> list[NamespaceCounts]:
        """Count what is in the namespaces of any such prefix or name; neither means all. Sorted."""
        request = NamespacesRequest(
            prefix=[prefix] if isinstance(prefix, str) else list(prefix),
            exact=[exact] if isinstance(exact, str) else list(exact),
            limit=limit,
            consistency="stale" if stale else "linearizable",
        )
        return (await self._caller.ask("namespaces", request, NamespacesReply)).reply.namespaces
