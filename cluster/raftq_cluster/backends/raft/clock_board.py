"""How far the clocks of the members are apart, as one node can tell. Pure: readings in, verdicts out.

A node tells the others what its clock shows, and how long ago each of them told it the same. Whoever hears back knows how long
its own reading was under way, and so the other's clock to within half of that (Cristian 1989, NTP). No question of its own
is needed, and a slow way makes a reading less certain, not wrong.

A clock is *off* if a majority of the voters agree on the time and it is not among them: any two of those who agree are at most
``skew_ms_max`` apart, beyond what is uncertain. Where no majority agrees nobody can say who is right, and nobody is off. So
a majority of the voters is never off at once, whatever clocks do.
"""

from collections.abc import Collection, Iterable, Mapping
from statistics import median_low
from typing import Any, Final, NamedTuple

# Clocks are compared once a second: after some that were lost, nothing is known any more.
FRESH_S: Final = 5.0
# An answer that took longer tells too little to be worth keeping.
TRIP_MAX_US: Final = 10_000_000
HEARD_MAX: Final = 64
_US_PER_S: Final = 1_000_000

OK: Final = "ok"
OFF: Final = "off"
UNKNOWN: Final = "unknown"  # not compared with a majority
SPLIT: Final = "split"  # compared, and no majority agrees


class Now(NamedTuple):
    """This node's clocks at one moment, in microseconds. Wall and log time are since the epoch."""

    monotonic_us: int
    wall_us: int
    log_us: int


class Reading(NamedTuple):
    """Another node's clocks, told from our monotonic one, which does not jump."""

    at_us: int
    wall_us: int  # its wall clock minus our monotonic clock
    log_us: int  # its log time minus our monotonic clock
    uncertainty_us: int


class Verdict(NamedTuple):
    """What one node makes of all clocks."""

    states: Mapping[str, str]  # of the members
    offsets_ms: Mapping[
        str, int
    ]  # from the voters' median; members of whom nothing is known are left out

    def state_of(self, node_id: str) -> str:
        """What is known of a member's clock."""
        return self.states.get(node_id, UNKNOWN)


class ClockBoard:
    """What node ``me`` knows of the others' clocks. ``skew_ms_max``: how far clocks may be apart."""

    def __init__(self, me: str, skew_ms_max: int) -> None:
        self._me = me
        self._skew_us = 1_000 * skew_ms_max
        self._heard: dict[str, tuple[int, int]] = {}  # peer -> (its stamp, when it came)
        self._readings: dict[str, Reading] = {}
        self._began_us: int | None = None

    def tell(self, now: Now) -> dict[str, Any]:
        """What to tell all others of our clocks."""
        if self._began_us is None:
            self._began_us = now.monotonic_us
        heard = {
            peer: (stamp, now.monotonic_us - came_us)
            for peer, (stamp, came_us) in self._heard.items()
        }
        return {
            "sent_us": now.monotonic_us,
            "wall_us": now.wall_us,
            "log_us": now.log_us,
            "heard": heard,
        }

    def hear(self, peer: str, told: object, now: Now) -> bool:
        """Take what a peer tells. Gives whether it should hear from us at once, to know our clock too.

        What is not of the known shape is passed over: another version may say something else.
        """
        if not isinstance(told, dict) or not _are_numbers(told, ("sent_us", "wall_us", "log_us")):
            return False
        is_first = peer not in self._heard
        self._heard[peer] = (told["sent_us"], now.monotonic_us)
        if len(self._heard) > HEARD_MAX:
            del self._heard[next(iter(self._heard))]
        trip_us = self._trip_us(told.get("heard"), now)
        if trip_us is not None:
            half_us = trip_us // 2
            ahead_us = half_us - now.monotonic_us
            self._readings[peer] = Reading(
                now.monotonic_us, told["wall_us"] + ahead_us, told["log_us"] + ahead_us, half_us + 1
            )
        return is_first

    def _trip_us(self, heard: object, now: Now) -> int | None:
        """How long our stamp and the answer to it were under way together; None if it is no answer."""
        pair = heard.get(self._me) if isinstance(heard, dict) else None
        if not isinstance(pair, tuple) or len(pair) != 2 or self._began_us is None:
            return None
        if not all(type(number) is int for number in pair):
            return None
        sent_us, held_us = pair
        trip_us = now.monotonic_us - sent_us - held_us
        is_ours = self._began_us <= sent_us <= now.monotonic_us and held_us >= 0
        return max(0, trip_us) if is_ours and trip_us <= TRIP_MAX_US else None

    def forget(self, peer: str) -> None:
        """The connection to a peer is new: what it held of ours may be of another process."""
        self._heard.pop(peer, None)
        self._readings.pop(peer, None)

    def log_us_of(self, peer: str, now: Now) -> tuple[int, int] | None:
        """A peer's log time now and how uncertain it is, in microseconds; None if it is not known."""
        reading = self._fresh(peer, now)
        if reading is None:
            return None
        return now.monotonic_us + reading.log_us, reading.uncertainty_us

    def _fresh(self, peer: str, now: Now) -> Reading | None:
        reading = self._readings.get(peer)
        is_fresh = reading and now.monotonic_us - reading.at_us <= FRESH_S * _US_PER_S
        return reading if is_fresh else None

    def judge(self, members: Iterable[str], voters: Collection[str], now: Now) -> Verdict:
        """Compare the clocks of ``members``, of whom ``voters`` decide."""
        known = {self._me: (0, 0)} if self._me in members else {}
        for member in members:
            reading = None if member == self._me else self._fresh(member, now)
            if reading is not None:
                offset_us = now.monotonic_us + reading.wall_us - now.wall_us
                known[member] = (offset_us, reading.uncertainty_us)
        deciding = {id_: _span(known[id_], self._skew_us) for id_ in voters if id_ in known}
        middle_us = median_low([known[id_][0] for id_ in deciding]) if deciding else 0
        return Verdict(
            {id_: self._state(_span(known[id_], self._skew_us), deciding, len(voters))
             for id_ in known},
            {id_: round((offset_us - middle_us) / 1_000) for id_, (offset_us, _) in known.items()},
        )  # fmt: skip

    def _state(
        self, mine: tuple[int, int], deciding: Mapping[str, tuple[int, int]], voters: int
    ) -> str:
        """What a clock is whose time lies in ``mine``. Source: Marzullo's algorithm."""
        needed = voters // 2 + 1
        if len(deciding) < needed:
            return UNKNOWN
        spans = deciding.values()
        agreed = [point for span in spans for point in span
                  if sum(low <= point <= high for low, high in spans) >= needed]  # fmt: skip
        if not agreed:
            return SPLIT
        ends = [point for point in mine
                if sum(low <= point <= high for low, high in spans) >= needed]  # fmt: skip
        low, high = mine
        return OK if ends or any(low <= point <= high for point in agreed) else OFF


def _span(known: tuple[int, int], skew_us: int) -> tuple[int, int]:
    """Two spans meet where two clocks are at most ``skew_us`` apart, beyond what is uncertain."""
    offset_us, uncertainty_us = known
    around_us = uncertainty_us + skew_us // 2
    return offset_us - around_us, offset_us + around_us


def _are_numbers(fields: Mapping[Any, Any], names: Iterable[str]) -> bool:
    return all(type(fields.get(name)) is int for name in names)
