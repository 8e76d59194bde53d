"""Settings attach to patterns of queue names; each field is decided by the most specific one.

A pattern is a queue's name, or a prefix followed by ``*``. A name is more specific than any prefix, a
longer prefix than a shorter one.
"""

from typing import Final, NamedTuple

from raftq_cluster.core.outcomes import SettingsRow

PATTERNS_MAX: Final = 1_000  # resolving looks at each, whenever a queue comes into being


class Effective(NamedTuple):
    """What the patterns decide for one queue; None: the default."""

    order: str | None = None
    paused: bool | None = None
    lease_ms: int | None = None


_NONE: Final = Effective()


class SettingsTable:
    """All settings, and what they mean for a name."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[str, SettingsRow] = {}

    def put(self, row: SettingsRow) -> bool:
        """Replace the settings of a pattern; a row without any field removes them.

        Returns False, and changes nothing, when there are ``PATTERNS_MAX`` others.
        """
        if row.order is None and row.paused is None and row.lease_ms is None:
            self._rows.pop(row.pattern, None)
            return True
        if row.pattern not in self._rows and len(self._rows) >= PATTERNS_MAX:
            return False
        self._rows[row.pattern] = row
        return True

    def rows(self) -> list[SettingsRow]:
        """All rows, sorted by pattern."""
        return [self._rows[pattern] for pattern in sorted(self._rows)]

    def resolve(self, name: str) -> Effective:
        """Decide each field for a queue."""
        if not self._rows:
            return _NONE
        found = [row for row in self.rows() if _matches(row.pattern, name)]
        found.sort(key=lambda row: (row.pattern == name, len(row.pattern)))
        effective = _NONE
        for row in found:  # from the least specific to the most
            effective = Effective(
                effective.order if row.order is None else row.order,
                effective.paused if row.paused is None else row.paused,
                effective.lease_ms if row.lease_ms is None else row.lease_ms,
            )
        return effective


def _matches(pattern: str, name: str) -> bool:
    return pattern == name or (pattern.endswith("*") and name.startswith(pattern[:-1]))
