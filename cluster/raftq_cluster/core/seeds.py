"""The one source of chance: a 64-bit linear congruential generator seeded by each log entry.

Python's ``random`` is not promised to stay the same between versions; these ten lines are. Constants:
Knuth, MMIX. The high bits are used, since the low ones of such a generator are poor.
"""

from typing import Final

_MULTIPLIER: Final = 6364136223846793005
_INCREMENT: Final = 1442695040888963407
_MASK: Final = 2**64 - 1


class Seeds:
    """Numbers drawn for one entry. Set ``state`` to the entry's seed before its operations run."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = 0

    def below(self, bound: int) -> int:
        """Draw a number of ``[0, bound)``; ``bound`` is 1 to 2**31.

        The modulo's bias is below ``bound / 2**31``.
        """
        self.state = state = (self.state * _MULTIPLIER + _INCREMENT) & _MASK
        return (state >> 33) % bound
