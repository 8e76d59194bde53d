"""Settings of queues, by pattern: of each field the most specific pattern decides."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from msgspec import UNSET

from raftq.wire.documents import Settings


class QueueSettings(NamedTuple):
    """What the patterns decide for one queue."""

    order: Literal["random", "fifo", "priority"] = "random"
    paused: bool = False
    lease_ms_min: int = 1
    lease_ms_max: int = 7 * 86_400_000

    def granted_ms(self, lease_ms: int) -> int:
        """Bring a lease within its bounds."""
        return min(max(lease_ms, self.lease_ms_min), self.lease_ms_max)


class SettingsTable:
    """All settings."""

    def __init__(self) -> None:
        self._rows: dict[str, Settings] = {}

    def put(self, given: Settings) -> None:
        """Replace the settings of a pattern; without any field remove them."""
        row = Settings(
            pattern=given.pattern, order=given.order, paused=given.paused, lease_ms=given.lease_ms,
            lease_ms_min=given.lease_ms_min, lease_ms_max=given.lease_ms_max,
        )  # fmt: skip
        self._rows[row.pattern] = row
        if row == Settings(pattern=row.pattern):
            del self._rows[row.pattern]

    def rows(self) -> list[Settings]:
        """Give all rows, sorted by pattern."""
        return [self._rows[pattern] for pattern in sorted(self._rows)]

    def of(self, queue: str) -> QueueSettings:
        """Decide each field for a queue: its name's settings, then the longest prefix's."""
        decided = QueueSettings()
        for row in sorted(
            self._rows.values(), key=lambda row: (row.pattern == queue, len(row.pattern))
        ):
            if row.pattern == queue or (
                row.pattern.endswith("*") and queue.startswith(row.pattern[:-1])
            ):
                given = {name: getattr(row, name) for name in QueueSettings._fields}
                decided = decided._replace(
                    **{name: value for name, value in given.items() if value is not UNSET}
                )
        return decided

    def granted_ms(self, names: Iterable[str], lease_ms: int) -> int:
        """Bring a lease of something in several namespaces within the bounds of all of them."""
        of_each = [self.of(name) for name in names]
        bounds = QueueSettings(
            lease_ms_min=max(one.lease_ms_min for one in of_each),
            lease_ms_max=min(one.lease_ms_max for one in of_each),
        )
        return bounds.granted_ms(lease_ms)
