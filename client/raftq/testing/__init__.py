"""For the tests of programs that use raftq: the whole task table in memory, and time that stands still.

    queue = MemoryQueue(clock=ManualClock())
    client = queue.client()            # a raftq.Client; queue.async_client() for the other face
    client.put("/mail/out", {"to": "ada@example.org"})
    queue.clock.jump(30_000)           # a lease ends

Behaves as a node does: ``tests/conformance`` runs one suite over both.
"""

from raftq.testing.clock import ManualClock
from raftq.testing.memory import MemoryQueue

__all__ = ["ManualClock", "MemoryQueue"]
