"""A child process that runs a RaftBackend on a real disk and says on stdout what it was told.

    python -m tests.support.raft_child DIRECTORY FIRST

Lines: ``ready``; ``put ID`` and ``drop ID`` once acknowledged; ``dropping ID`` before a deletion is asked
for. Each line is written whole. The parent kills it.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from raftq_cluster.backends.raft.backend import RaftBackend
from raftq_cluster.backends.raft.running import Outside
from raftq_cluster.backends.raft.upkeep import Bounds
from raftq_cluster.core.outcomes import Modified, Outcome
from tests.support.raft_operations import drop, put

IN_FLIGHT: Final = 20
VALUE: Final = bytes(200)
# Small, so that snapshots are always being taken and the log is always being cut.
BOUNDS: Final = Bounds(bytes_between_min=100_000, entries_kept=10)


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


class Work:
    """Keeps some chains going: insert a task, and delete every second one."""

    def __init__(self, backend: RaftBackend, first: int) -> None:
        self._backend = backend
        self._next = first

    def insert(self) -> None:
        id_ = f"t{self._next}"
        self._next += 1
        self._backend.submit([put(id_, value=VALUE)], lambda _i, told: self._inserted(id_, told))

    def _inserted(self, id_: str, told: Sequence[Outcome]) -> None:
        assert isinstance(told[0], Modified), told
        say(f"put {id_}")
        if int(id_[1:]) % 2:
            self.insert()
            return
        say(f"dropping {id_}")
        self._backend.submit([drop(id_, 0)], lambda _i, told: self._dropped(id_, told))

    def _dropped(self, id_: str, told: Sequence[Outcome]) -> None:
        assert isinstance(told[0], Modified), told
        say(f"drop {id_}")
        self.insert()


async def main() -> None:
    directory, first = Path(sys.argv[1]), int(sys.argv[2])
    backend = RaftBackend(directory, on_fatal=sys.exit, outside=Outside(bounds=BOUNDS))
    await backend.start()
    say("ready")
    work = Work(backend, first)
    for _ in range(IN_FLIGHT):
        work.insert()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
