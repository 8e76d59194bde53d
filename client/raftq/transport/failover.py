"""Calls that survive nodes: several channels, one in use, the next when it fails, until the deadline.

Retries only what is retryable, always with the same bytes and so with the same idempotency key. What it
decides is the one question that matters: may an earlier try have been done? See ``client/raftq/DESIGN.md``.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from raftq.backoff import Backoff
from raftq.errors import (
    ConnectionLost,
    MisuseError,
    OutcomeUnknown,
    ProtocolError,
    RaftqError,
    TooBusy,
    TooLarge,
    Unavailable,
    Untrusted,
)
from raftq.transport.api import Answer, Channel
from raftq.wire.documents import Document
from raftq.wire.formats import MalformedError, decode, encode
from raftq.wire.membership import ClusterChange

R = TypeVar("R")

BODY_BYTES_MAX: Final = 4 * 2**20  # what a node accepts unless its flags say otherwise

# After every node has failed once more. An election takes about a second: do not sleep through it.
ROUND_BACKOFF: Final = Backoff(0.05, 2.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pacing:
    """How long to wait for what."""

    try_s: float = 10.0  # one try, beyond what the call itself may wait: then the next node
    unreachable_s: float = (
        math.inf
    )  # a call that could send nothing to any node gives up after this
    backoff: Backoff = ROUND_BACKOFF


class Failover:
    """A :class:`~raftq.transport.api.Transport` over the channels of a cluster's nodes."""

    def __init__(
        self,
        channels: Sequence[Channel],
        *,
        pacing: Pacing | None = None,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        self._channels = list(channels)
        self._current = 0
        self._pacing = pacing or Pacing()
        self._body_bytes_max = body_bytes_max
        self._is_closed = False

    async def call(
        self,
        verb: str,
        document: Document,
        reply_type: type[R],
        *,
        timeout_s: float,
        wait_s: float = 0.0,
    ) -> Answer[R]:
        """Do a call; see :class:`~raftq.transport.api.Transport`."""
        body = self._body_of(document)
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        give_up_at = began_at + timeout_s + wait_s
        history: _History | None = None
        try_s = self._pacing.try_s + wait_s
        while True:
            number = self._current
            try:
                index, answer = await self._channel(number).send(
                    verb, body, min(try_s, give_up_at - loop.time())
                )
                reply = _read(answer, reply_type)
            except RaftqError as error:
                failure = error
            else:
                index = index or getattr(reply, "index", 0) or 0  # the text protocol's is within
                return Answer(index, reply, history is None)
            if history is None:
                history = _History(document, began_at)
            history.add(failure)
            if not self._is_worth_retrying(failure, history):
                raise history.verdict(failure)
            if self._current == number:  # nobody else has moved on meanwhile
                self._current = (number + 1) % len(self._channels)
            await self._pause(failure, history, give_up_at)

    async def close(self) -> None:
        """Close all channels."""
        self._is_closed = True
        for channel in self._channels:
            await channel.close()

    def _channel(self, number: int) -> Channel:
        if self._is_closed:
            raise MisuseError("the client is closed")
        return self._channels[number]

    def _body_of(self, document: Document) -> bytes:
        body = encode(document, "json")
        if len(body) > self._body_bytes_max:
            limit = self._body_bytes_max
            error = TooLarge(
                f"the request has {len(body)} bytes; the limit body_bytes_max is {limit}"
            )
            error.limit, error.limit_name = limit, "body_bytes_max"
            raise error
        return body

    def _is_worth_retrying(self, error: RaftqError, history: "_History") -> bool:
        if _is_of_one_node(error):  # another address may be a node that does; one round will tell
            return history.refusals < len(self._channels)
        return error.retryable

    async def _pause(self, error: RaftqError, history: "_History", give_up_at: float) -> None:
        """Wait before the next try, or give up.

        Raises:
            RaftqError: the deadline has passed, or would during the wait.
        """
        pause_s = 0.0
        if history.tries % len(self._channels) == 0:
            pause_s = self._pacing.backoff.pause_s(history.tries // len(self._channels) - 1)
            if isinstance(error, TooBusy):
                pause_s = max(pause_s, (error.retry_after_ms or 0) / 1_000)
        if history.reached_nobody and history.tries >= len(self._channels):
            give_up_at = min(give_up_at, history.began_at + self._pacing.unreachable_s)
        now = asyncio.get_running_loop().time()
        if now + pause_s >= give_up_at:
            raise history.verdict(error)
        if pause_s:
            await asyncio.sleep(pause_s)


class _History:
    """What the tries of one call have shown so far."""

    __slots__ = ("began_at", "changes", "key", "maybe_done", "reached_nobody", "refusals", "tries")

    def __init__(self, document: Document, began_at: float) -> None:
        self.key = getattr(document, "idempotency_key", "")
        self.changes = bool(self.key) or isinstance(document, ClusterChange)
        self.began_at = began_at
        self.tries = 0
        self.refusals = 0  # that another node may not share
        self.maybe_done = False
        self.reached_nobody = True

    def add(self, error: RaftqError) -> None:
        self.tries += 1
        if _is_of_one_node(error):
            self.refusals += 1
        not_sent = isinstance(error, ConnectionLost) and not error.maybe_done
        self.reached_nobody &= not_sent
        self.maybe_done |= isinstance(error, OutcomeUnknown) or (
            isinstance(error, ConnectionLost | ProtocolError) and error.maybe_done
        )

    def verdict(self, error: RaftqError) -> RaftqError:
        """Give the error to raise when ``error`` ended the last try."""
        if self.changes and self.maybe_done and not error.decisive:
            unknown = OutcomeUnknown(
                f"it is not known whether the call was done: {error.detail}",
                idempotency_key=self.key,
            )
            unknown.index = error.index
            unknown.__cause__ = error
            return unknown
        if isinstance(error, OutcomeUnknown) and not self.changes:
            return Unavailable(error.detail)
        return error


def _is_of_one_node(error: RaftqError) -> bool:
    """Tell whether what is wrong may be wrong with one node alone: its port, certificate, tokens."""
    return isinstance(error, ProtocolError | Untrusted) or error.code == "unauthenticated"


def _read(answer: bytes, reply_type: type[R]) -> R:
    try:
        return decode(answer, reply_type, "json")
    except MalformedError as error:
        unreadable = ProtocolError(f"the answer cannot be read: {error}", maybe_done=True)
        raise unreadable from error
