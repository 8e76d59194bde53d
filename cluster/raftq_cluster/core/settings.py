"""Settings attach to patterns of queue names; each field is decided by the most specific one.

A pattern is a queue's name, or a prefix followed by ``*``. A name is more specific than any prefix, a
longer prefix than a shorter one.
"""

from typing import Final, NamedTuple

from raftq_cluster.core.outcomes import SettingsRow

PATTERNS_MAX: Final = 1_000  # resolving looks at each prefix, whenever a queue comes into being


class Effective(NamedTuple):
    """What the patterns decide for one queue; None: the default."""

    order: str | None = None
    paused: bool | None = None
    lease_ms: int | None = None


_NONE: Final = Effective()


class SettingsTable:
    """All settings, and what they mean for a name."""

    __slots__ = ("_prefixes", "_rows")

    def __init__(self) -> None:
        self._rows: dict[str, SettingsRow] = {}
        self._prefixes: list[tuple[str, SettingsRow]] = []  # the most specific first

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
            prefixes = [
                (kept.pattern[:-1], kept) for kept in self.rows() if kept.pattern[-1] == "*"
            ]
            self._prefixes = sorted(prefixes, key=lambda item: -len(item[0]))
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
        for prefix, row in self._prefixes:
            if name.startswith(prefix):
                found = Effective(
                    row.order if found.order is None else found.order,
                    row.paused if found.paused is None else found.paused,
                    row.lease_ms if found.lease_ms is None else found.lease_ms,
                )
        return found


def matches(pattern: str, name: str) -> bool:
    """Tell whether settings of this pattern may decide something for a queue."""
    return pattern == name or (pattern.endswith("*") and name.startswith(pattern[:-1]))
