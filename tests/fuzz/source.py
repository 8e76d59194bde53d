"""Choices out of bytes: what a target is given says which script it plays and what it damages.

Bytes that have run out are zeros, so that every input means something and a shorter one means less.
"""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Source:
    """Reads choices from the front; ``rest`` gives what is left."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_over(self) -> bool:
        """Whether all bytes have been read."""
        return self._at >= len(self._data)

    def byte(self) -> int:
        """One byte."""
        if self.is_over:
            return 0
        self._at += 1
        return self._data[self._at - 1]

    def below(self, bound: int) -> int:
        """A number ``0 <= n < bound``, of as many bytes as that takes."""
        number, reach = 0, 1
        while reach < bound:
            number, reach = number << 8 | self.byte(), reach << 8
        return number % bound

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def take(self, count: int) -> bytes:
        """Up to so many bytes."""
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def blob(self, most: int) -> bytes:
        """Some bytes, their number told by what stands before them."""
        return self.take(self.below(most + 1))

    def rest(self) -> bytes:
        """What is left."""
        return self.take(len(self._data) - self._at)

    def pieces(self, data: bytes, most: int = 12) -> list[bytes]:
        """``data`` cut where the source says."""
        cuts = sorted(self.below(len(data) + 1) for _ in range(self.below(most)))
        return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def damaged(source: Source, data: bytes) -> bytes:
    """Flip, cut, add, repeat or zero bytes of ``data``, as often as the source says."""
    changed = bytearray(data)
    for _ in range(1 + source.below(4)):
        at = source.below(len(changed) + 1)
        what = source.below(6)
        if what == 0 and at < len(changed):
            changed[at] ^= 1 << source.below(8)
        elif what == 1:
            del changed[at:]
        elif what == 2:
            changed[at:at] = source.blob(64) or b"\0"
        elif what == 3:
            del changed[at : at + 1 + source.below(64)]
        elif what == 4:
            size = 1 + source.below(700)
            changed[at : at + size] = bytes(min(size, len(changed) - at))
        else:
            piece = source.blob(64) or b"\xff"
            changed[at : at + len(piece)] = piece
    return bytes(changed)
