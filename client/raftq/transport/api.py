"""The seams of the client: what a client asks of a transport, and failover of one node's channel."""

from typing import Generic, NamedTuple, Protocol, TypeVar

from raftq.wire.documents import Document

R = TypeVar("R")


class Answer(NamedTuple, Generic[R]):
    """What a call gave. ``is_first_try``: no other copy of the request can still be on its way."""

    log_index: int  # that the reply reflects; 0: not told
    reply: R
    is_first_try: bool


class Transport(Protocol):
    """Gets a call done by some node. One event loop owns it, unless it says otherwise."""

    async def call(
        self,
        verb: str,
        document: Document,
        reply_type: type[R],
        *,
        timeout_s: float,
        wait_s: float = 0.0,
    ) -> Answer[R]:
        """Send a document, wait for the answer, and read it as ``reply_type``.

        What is retryable is retried until ``timeout_s`` have passed; a call by which the node may
        wait ``wait_s`` for a task is given that much more. A document with an idempotency key
        is one that may change something. Cancelling drops the answer, not the call.

        Raises:
            RaftqError: refused, failed, or of unknown outcome.
        """
        ...

    async def close(self) -> None:
        """Close every connection; calls in flight fail. Idempotent."""
        ...


class Channel(Protocol):
    """One node at one address. Connects when it is first used, and again after a loss."""

    async def send(self, verb: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Try a call once; ``body`` is a JSON document. Gives log index (0: not told) and answer.

        Raises:
            ConnectionLost: there is no connection, or it ended, or no answer came in time.
            RaftqError: what the node answered.
        """
        ...

    async def close(self) -> None:
        """Close the connection; calls in flight fail. Idempotent."""
        ...
