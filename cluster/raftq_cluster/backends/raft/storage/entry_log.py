"""The log in memory: what the Raft core reads. Knows no files.

Entries are ``(term, data)`` at consecutive indexes behind a base ``(index, term)``, the entry before
the first, which itself is not held (it is in a snapshot, or it is 0 of term 0: the empty past).
"""

from typing import TypeAlias

Entry: TypeAlias = tuple[int, bytes]
"""``(term, data)``"""


class EntryLog:
    """Consecutive entries behind a base. Indexes out of range raise ``IndexError``."""

    __slots__ = ("_entries", "base_index", "base_term", "data_bytes")

    def __init__(self) -> None:
        self.base_index = 0
        self.base_term = 0
        self.data_bytes = 0
        """Sum of the sizes of the entries' data."""
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def first_index(self) -> int:
        """Index of the first entry held, or of the next one if none is."""
        return self.base_index + 1

    @property
    def last_index(self) -> int:
        """Index of the last entry; the base's if none is held."""
        return self.base_index + len(self._entries)

    @property
    def last_term(self) -> int:
        """Term of the last entry; the base's if none is held."""
        return self._entries[-1][0] if self._entries else self.base_term

    def term_at(self, index: int) -> int:
        """Term of the entry at ``index``, or of the base."""
        if index == self.base_index:
            return self.base_term
        return self._entries[self._position(index)][0]

    def entry(self, index: int) -> Entry:
        """The entry at ``index``."""
        return self._entries[self._position(index)]

    def entries(self, start: int, stop: int) -> list[Entry]:
        """Entries ``start <= index < stop``; those beyond the end are left out."""
        if start <= self.base_index:
            raise IndexError(start)
        return self._entries[start - self.first_index : max(stop - self.first_index, 0)]

    def append(self, term: int, data: bytes) -> int:
        """Add an entry at the end and tell its index."""
        self._entries.append((term, data))
        self.data_bytes += len(data)
        return self.base_index + len(self._entries)

    def cut_from(self, index: int) -> None:
        """Remove the entries from ``index`` on."""
        self._remove(slice(index - self.first_index, None))

    def cut_before(self, index: int) -> None:
        """Remove the entries before ``index``; the one before it becomes the base."""
        base_term = self.term_at(index - 1)
        self._remove(slice(0, index - self.first_index))
        self.base_index, self.base_term = index - 1, base_term

    def reset(self, index: int, term: int) -> None:
        """Remove everything; ``(index, term)`` becomes the base."""
        self._remove(slice(0, None))
        self.base_index, self.base_term = index, term

    def _remove(self, part: slice) -> None:
        self.data_bytes -= sum(len(data) for _, data in self._entries[part])
        del self._entries[part]

    def _position(self, index: int) -> int:
        position = index - self.base_index - 1
        if not 0 <= position < len(self._entries):
            raise IndexError(index)
        return position
