"""Questions between members, with their answers: what an operator asked one node and another must do.

One frame each way over the connections that are there; a question that is not answered in its time has an unknown
outcome. Knows nothing of what is asked.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from raftq_cluster.backends.raft.engine import Engine
from raftq_cluster.backends.raft.messages import Call, Reply

CALLS_MAX: Final = 64  # that other members may have open here


class CallError(Exception):
    """A call was not answered with success. ``code`` is a name of ``raftq.wire.codes``.

    ``may_pass``: what is in its way may be over by itself; known on the node that refused alone.
    """

    def __init__(self, code: str, detail: str, *, may_pass: bool = False) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.may_pass = may_pass


Handler = Callable[[str, bytes], Awaitable[bytes]]
"""Takes the asking member and the question's body. May raise ``CallError``."""


class Calls:
    """Calls from and to this node. ``handlers`` by name."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._handlers: dict[str, Handler] = {}
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        engine.on(Call, self._on_call)
        engine.on(Reply, self._on_reply)

    def serve(self, name: str, handler: Handler) -> None:
        """Answer calls of this name."""
        self._handlers[name] = handler

    async def ask(self, peer: str, name: str, body: bytes, *, timeout_s: float) -> bytes:
        """Ask a member.

        Raises:
            CallError: what it answered; ``unavailable`` if it cannot be reached, and
                ``outcome_unknown`` if it did not answer in time.
        """
        self._number += 1
        number = self._number
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            if not self._engine.send(peer, Call(number, name, body)):
                raise CallError("unavailable", f"node {peer} is not connected")
            async with asyncio.timeout(timeout_s):
                reply = await future
        except TimeoutError:
            detail = f"node {peer} did not answer within {timeout_s:g} s"
            raise CallError("outcome_unknown", detail) from None
        finally:
            del self._waiting[number]
        if reply.code:
            raise CallError(reply.code, reply.body.decode(errors="replace"))
        return bytes(reply.body)

    def close(self) -> None:
        """Give up what is being answered."""
        for task in self._tasks:
            task.cancel()

    def _on_call(self, peer: str, call: Call) -> None:
        if len(self._tasks) >= CALLS_MAX:
            self._engine.send(peer, Reply(call.number, "too_busy", b"too many calls are open"))
            return
        task = asyncio.create_task(self._answer(peer, call), name=f"raft call {call.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, peer: str, call: Call) -> None:
        handler = self._handlers.get(call.name, _unknown)
        try:
            answer = Reply(call.number, "", await handler(peer, call.body))
        except CallError as error:
            answer = Reply(call.number, error.code, error.detail.encode())
        self._engine.send(peer, answer)

    def _on_reply(self, _peer: str, reply: Reply) -> None:
        future = self._waiting.get(reply.number)
        if future is not None and not future.done():
            future.set_result(reply)


async def _unknown(_peer: str, _body: bytes) -> bytes:
    raise CallError("invalid", "calls of this name are not known to this node")
