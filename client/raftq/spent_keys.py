"""Tells the cluster which idempotency keys it may forget, in batches and in the background.

The cluster remembers each answered key for minutes, and a million of them at most: a client that makes
thousands of calls a second would fill that. Only keys whose call was answered at its first try are told: after a
retry another copy of the request may still be on its way, and only the key stops it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from raftq.errors import RaftqError

BATCH_KEYS: Final = 500  # a client that makes fewer calls in the keys' lifetime need not tell
KEYS_MAX: Final = 100_000  # while a batch is on its way; beyond it keys are left to their lifetime


class SpentKeys:
    """Collects keys. ``forget`` tells the cluster about some; what it raises is of no consequence."""

    def __init__(self, forget: Callable[[list[str]], Awaitable[object]]) -> None:
        self._forget = forget
        self._keys: list[str] = []
        self._telling: asyncio.Task[None] | None = None

    def add(self, key: str) -> None:
        """Note that the answer of this key's call has arrived."""
        if len(self._keys) < KEYS_MAX:
            self._keys.append(key)
        if len(self._keys) >= BATCH_KEYS and self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def close(self) -> None:
        """Stop telling. Idempotent."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait({self._telling})

    async def _tell(self) -> None:
        try:
            while len(self._keys) >= BATCH_KEYS:
                batch, self._keys = self._keys[:BATCH_KEYS], self._keys[BATCH_KEYS:]
                await self._forget(batch)
        except RaftqError:
            pass  # they are forgotten by themselves, later
        finally:
            self._telling = None
