"""One client's side of every call: who it is, its keys, its event loop, and what it leaves behind.

Makes documents into answers over a transport. Knows neither tasks' meaning nor retries.
"""

import asyncio
import os
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from raftq.clock import Clock
from raftq.errors import MisuseError, OutcomeUnknown, RaftqError
from raftq.identity import key_source
from raftq.spent_keys import SpentKeys
from raftq.tasks import ClaimedTasks, Reflecting, Task
from raftq.transport.api import Answer, Transport
from raftq.wire import documents
from raftq.wire.docs import ClaimDocsRequest

R = TypeVar("R")

WAIT_PIECE_MS: Final = 20_000  # one request of a long wait: a lost node is noticed within it

_callers: "weakref.WeakSet[Caller]" = weakref.WeakSet()


class Caller:
    """Sends documents for one client, in one event loop of one process.

    Args:
        transport: carries them.
        timeout_s: of one call with all its retries, beyond the time it asks to wait for a task.
        give_back: releases tasks that were claimed for somebody who has gone.
        clock: of waits for tasks.
    """

    def __init__(
        self,
        transport: Transport,
        timeout_s: float,
        give_back: Callable[[list[Task]], Awaitable[object]],
        clock: Clock,
    ) -> None:
        self.last_index = 0
        self.new_key = key_source()
        self._transport = transport
        self._timeout_s = timeout_s
        self._give_back = give_back
        self._clock = clock
        self._spent_keys = SpentKeys(self._forget)
        self._left_behind: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._misuse = ""
        _callers.add(self)

    async def ask(
        self,
        verb: str,
        document: documents.Document,
        reply_type: type[R],
        wait_s: float = 0.0,
    ) -> Answer[R]:
        """Do a call that needs no key, or has one already.

        Raises:
            MisuseError: closed, or in another process or event loop than before.
            RaftqError: what the transport raises.
        """
        self.loop()
        answer = await self._transport.call(
            verb, document, reply_type, timeout_s=self._timeout_s, wait_s=wait_s
        )
        self.last_index = max(self.last_index, answer.log_index)
        if isinstance(answer.reply, Reflecting):
            answer.reply.index = answer.log_index
        return answer

    async def change(
        self,
        verb: str,
        document: documents.ModifyRequest
        | documents.RenewRequest
        | documents.ConfigureRequest
        | ClaimDocsRequest,
        reply_type: type[R],
        idempotency_key: str,
        fits: Callable[[R], bool] = lambda _reply: True,
    ) -> R:
        """Do a call that changes something, under the caller's key or, if that is "", a new one.

        Raises:
            OutcomeUnknown: the answer is none to this call, by ``fits``, among other reasons.
        """
        document.idempotency_key = key = idempotency_key or self.new_key()
        answer = await self.ask(verb, document, reply_type)
        if not fits(answer.reply):
            why = "it is not known whether the call was done: the answer is not one to it"
            raise OutcomeUnknown(why, idempotency_key=key)
        if not idempotency_key and answer.is_first_try:
            self._spent_keys.add(document.idempotency_key)
        return answer.reply

    async def claim(self, request: documents.ClaimRequest, idempotency_key: str) -> list[Task]:
        """Do a claim under the caller's key or a new one, a long wait in pieces.

        What an earlier try got may be gone before that is known, and its key gets nothing more. The wait goes
        on under a new one; a caller with a key of its own gets nothing, at once.
        """
        request.idempotency_key = idempotency_key or self.new_key()
        is_sure = not idempotency_key
        give_up_at = self._clock.monotonic() + request.wait_ms / 1_000
        left_ms = request.wait_ms
        while True:
            request.wait_ms = min(left_ms, WAIT_PIECE_MS)
            answer = await (self._wait_and_claim if left_ms else self._claim)(request)
            is_sure = is_sure and answer.is_first_try
            left_ms = max(0, round((give_up_at - self._clock.monotonic()) * 1_000))
            tasks = answer.reply.tasks
            if tasks and is_sure:  # an empty claim leaves no key behind
                self._spent_keys.add(request.idempotency_key)
            if tasks or not left_ms:
                return tasks
            if answer.reply.gone:
                if idempotency_key:
                    return tasks
                request.idempotency_key, is_sure = self.new_key(), True

    async def close(self) -> None:
        """Close the transport; calls in flight fail. Idempotent."""
        self._misuse = self._misuse or "the client is closed"
        await self._spent_keys.close()
        left_behind = list(self._left_behind)
        for task in left_behind:
            task.cancel()
        if left_behind:
            await asyncio.wait(left_behind)
        await self._transport.close()

    def loop(self) -> asyncio.AbstractEventLoop:
        """Give the client's event loop, which the first call decides.

        Raises:
            MisuseError: closed, or in another process or event loop than before.
        """
        if self._misuse:
            raise MisuseError(self._misuse)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None:
                raise MisuseError("the client belongs to another event loop")
            self._loop = loop
        return loop

    def disown(self, why: str) -> None:
        """Refuse every further call: the process that owns the connections is another one."""
        self._misuse = why

    async def _claim(self, request: documents.ClaimRequest) -> Answer[ClaimedTasks]:
        return await self.ask("claim", request, ClaimedTasks, request.wait_ms / 1_000)

    async def _wait_and_claim(self, request: documents.ClaimRequest) -> Answer[ClaimedTasks]:
        """Claim with a wait; if that is cancelled, give back what the node claims nevertheless."""
        claiming = self.loop().create_task(self._claim(request))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            self._left_behind.add(claiming)
            claiming.add_done_callback(self._on_left_behind)
            raise

    def _on_left_behind(self, claiming: asyncio.Task[Answer[ClaimedTasks]]) -> None:
        self._left_behind.discard(claiming)
        if claiming.cancelled() or claiming.exception() is not None or self._misuse:
            return
        if tasks := claiming.result().reply.tasks:
            giving_back = claiming.get_loop().create_task(self._give_back_quietly(tasks))
            self._left_behind.add(giving_back)
            giving_back.add_done_callback(self._left_behind.discard)

    async def _give_back_quietly(self, tasks: list[Task]) -> None:
        try:
            await self._give_back(tasks)
        except RaftqError:
            return  # their lease ends by itself

    async def _forget(self, keys: list[str]) -> None:
        await self.ask("forget", documents.ForgetRequest(keys=keys), documents.ForgetReply)


def _after_fork_in_child() -> None:
    for caller in list(_callers):
        caller.disown("the client belongs to the process that this one was forked from")


os.register_at_fork(after_in_child=_after_fork_in_child)
