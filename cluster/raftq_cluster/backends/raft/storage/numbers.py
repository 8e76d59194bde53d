"""One count of writes for a node's log and vote together.

Every append, truncation, reset and vote takes the next number. A sync covers all numbers taken before
it began, so whoever must wait for the disk keeps a number and compares. A bare log index would lie: a
truncation and a rewrite while a sync is in flight put another entry at the same index.
"""


class WriteNumbers:
    """``last`` was taken most recently, ``durable`` is covered by a completed sync."""

    __slots__ = ("durable", "last")

    def __init__(self) -> None:
        self.last = 0
        self.durable = 0

    def take(self) -> int:
        """The number of one more write; the first is 1."""
        self.last += 1
        return self.last
