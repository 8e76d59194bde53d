"""Settings attach to patterns of queue names; each field is decided by the most specific one.

A pattern is a queue's name, or a prefix followed by ``*``. A name is more specific than any prefix, a
longer prefix than a shorter one.

What bounds leases, ``lease_ms_min`` and ``lease_ms_max``, may come from different patterns; where they contradict each
other, the maximum holds.
"""

from typing import Final, NamedTuple

from raftq_cluster.core.outcomes import SettingsRow

PATTERNS_MAX: Final = 1_000  # whoever lists the settings gets them all
LEASE_MS_DEFAULT: Final = 60_000  # of protocols that name no lease: TaskQ's code gives 60 to 90 s
LEASE_MS_MAX: Final = 7 * 86_400_000  # where no setting says otherwise; settings cannot exceed it
LEASE_MS_MIN: Final = 1  # likewise
POLITE_LEASE_MS_MIN: Final = 1_000  # likewise, of EntroQ's claims: renewals must have a chance


class Effective(NamedTuple):
    """What the patterns decide for one queue; None: the default."""

    order: str | None = None
    paused: bool | None = None
    lease_ms: int | None = None
    lease_ms_min: int | None = None
    lease_ms_max: int | None = None

    def or_of(self, row: SettingsRow) -> "Effective":
        """Let a less specific pattern decide what is open."""
        return Effective(
            row.order if self.order is None else self.order,
            row.paused if self.paused is None else self.paused,
            row.lease_ms if self.lease_ms is None else self.lease_ms,
            row.lease_ms_min if self.lease_ms_min is None else self.lease_ms_min,
            row.lease_ms_max if self.lease_ms_max is None else self.lease_ms_max,
        )

    @property
    def has_bounds(self) -> bool:
        """Whether any setting bounds leases."""
        return self.lease_ms_min is not None or self.lease_ms_max is not None

    def granted_ms(self, lease_ms: int) -> int:
        """Tell which lease is given to whom asks for ``lease_ms``: 0 for the queue's own, below 0 as EntroQ does."""
        low = LEASE_MS_MIN if lease_ms >= 0 else POLITE_LEASE_MS_MIN
        low = low if self.lease_ms_min is None else self.lease_ms_min
        high = LEASE_MS_MAX if self.lease_ms_max is None else self.lease_ms_max
        return min(max(abs(lease_ms) or self.lease_ms or LEASE_MS_DEFAULT, low), high)


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
        if row[1:] == _NONE:
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
                found = found.or_of(row)
        return found

    def _index_prefixes(self) -> None:
        rows = self._rows.values()
        self._prefixes = {row.pattern[:-1]: row for row in rows if row.pattern.endswith("*")}
        self._lengths = sorted(dict.fromkeys(map(len, self._prefixes)), reverse=True)


def matches(pattern: str, name: str) -> bool:
    """Tell whether settings of this pattern may decide something for a queue."""
    return pattern == name or (pattern.endswith("*") and name.startswith(pattern[:-1]))
