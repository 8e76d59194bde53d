"""Settings of queues, by pattern: of each field the most specific pattern decides."""

from typing import Literal, NamedTuple

from msgspec import UNSET

from raftq.wire.documents import Settings


class QueueSettings(NamedTuple):
    """What the patterns decide for one queue."""

    order: Literal["random", "fifo", "priority"] = "random"
    paused: bool = False


class SettingsTable:
    """All settings."""

    def __init__(self) -> None:
        self._rows: dict[str, Settings] = {}

    def put(self, given: Settings) -> None:
        """Replace the settings of a pattern; without any field remove them."""
        row = Settings(
            pattern=given.pattern, order=given.order, paused=given.paused, lease_ms=given.lease_ms
        )
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
                decided = QueueSettings(
                    decided.order if row.order is UNSET else row.order,
                    decided.paused if row.paused is UNSET else row.paused,
                )
        return decided
