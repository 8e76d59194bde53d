"""Settings attach to patterns of queue names; each field is decided by the most specific one.

A pattern is a queue's name, or a prefix followed by ``*``. A name is more specific than any prefix, a
longer prefix than a shorter one.
"""

from typing import Final, NamedTuple

from raftq_cluster.core.outcomes import SettingsRow

PATTERNS_MAX: Final = 1_000  # whoever lists the settings gets them all


class Effective(NamedTuple):
    """What the patterns decide for one queue; None: the default."""

    order: str | None = None
    paused: bool | None = None
    lease_ms: int | None = None


_NONE: Final = Effective()


class SettingsTable:
    """All settings, and what they mean for a name."""

    __slots__ = ("_lengths", "_prefixes", "_rows")

    def __init__(self) -> None:
        self._rows: dict[str, SettingsRow] = {}
        self._prefixes: dict[str, SettingsRow] = {}
        self._lengths: list[
            int
        ] = []  # of the prefixes, the longest first: few, though they be many

    def put(self, row: SettingsRow) -> bool:
        """Replace the settings of a pattern; a row without any field removes them.

        Returns False, and changes nothing, when there are ``PATTERNS_MAX`` others.
        """
        if row.order is None and row.paused is None and row.lease_ms is None:
            self._rows.pop(row.pattern, None)
        elif row.pattern not in self._rows and len(self._rows) >= PATTERNS_MAX:
            return False
        else:
            self._rows[row.pattern] = row
        if row.pattern.endswith("*"):
            self._index_prefixes()
        return True

    def rows(self) -> list[SettingsRow]:
        """All rows, sorted by pattern."""
        return [self._rows[pattern] for pattern in sorted(self._rows)]

    def resolve(self, name: str) -> Effective:
        """Decide each field for a queue."""
        if not self._rows:
            return _NONE
        exact = self._rows.get(name)
        found = _NONE if exact is None else Effective(*exact[1:])
        for length in self._lengths:
            row = self._prefixes.get(name[:length])
            if row is not None:
                found = Effective(
                    row.order if found.order is None else found.order,
                    row.paused if found.paused is None else found.paused,
                    row.lease_ms if found.lease_ms is None else found.lease_ms,
                )
        return found

    def _index_prefixes(self) -> None:
        rows = self._rows.values()
        self._prefixes = {row.pattern[:-1]: row for row in rows if row.pattern.endswith("*")}
        self._lengths = sorted(dict.fromkeys(map(len, self._prefixes)), reverse=True)


def matches(pattern: str, name: str) -> bool:
    """Tell whether settings of this pattern may decide something for a queue."""
    return pattern == name or (pattern.endswith("*") and name.startswith(pattern[:-1]))
