"""``raftqd`` as chaos runs it: the product's own, on a wall clock that the test sets, and perhaps with a bug.

``CHAOS_CLOCK`` names a file of eight bytes: nanoseconds by which this process's wall clock is off, read at every look.
``CHAOS_PLANT`` names a bug of ``tests.chaos.planting``. Nothing else differs: monotonic clocks are the machine's.
"""

import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Final

CLOCK: Final = "CHAOS_CLOCK"
PLANT: Final = "CHAOS_PLANT"
_LOOK_S: Final = 1.0
_OFFSET: Final = struct.Struct("=q")


class WallClock:
    """A wall clock that another process sets. Missing file: it is right."""

    def __init__(self, path: Path) -> None:
        path.touch()
        if path.stat().st_size != _OFFSET.size:
            path.write_bytes(_OFFSET.pack(0))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), _OFFSET.size)

    def set(self, offset_ns: int) -> None:
        """Be off by so much from now on."""
        _OFFSET.pack_into(self._shared, 0, offset_ns)

    def offset_ns(self) -> int:
        """By how much it is off."""
        offset_ns: int = _OFFSET.unpack_from(self._shared)[0]
        return offset_ns

    def shifted(self, time_ns: Callable[[], int]) -> Callable[[], int]:
        """The clock as a process sees it."""
        return lambda: time_ns() + self.offset_ns()


def end_with_parent() -> None:
    """End at once when the run has ended without ending us: no node outlives it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def main() -> None:
    """Run a node."""
    end_with_parent()
    if path := os.environ.get(CLOCK):
        time_ns = WallClock(Path(path)).shifted(time.time_ns)
        time.time_ns = time_ns
        time.time = lambda: time_ns() / 1e9
    from raftq_cluster import daemon

    plant: object = nullcontext()
    if bug := os.environ.get(PLANT):
        from tests.chaos.planting import planted

        plant = planted(bug)
    with plant:  # type: ignore[attr-defined]
        daemon.main()


if __name__ == "__main__":
    main()
