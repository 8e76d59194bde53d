"""Everything has a limit, and each is refused by its name. ``docs/http.md`` lists them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bounds of one node. All in bytes or counts, all inclusive."""

    body_bytes_max: int = 4 * 2**20  # of a request; also bounds a log entry's share of one caller
    value_bytes_max: int = 2**20  # of one task's value
    err_bytes_max: int = 64 * 2**10  # of one task's error text: a stack trace, not a log file
    operations_max: int = 1_000  # parts of one modify: bounds the time of one apply
    disk_free_bytes_min: int = 64 * 2**20  # below it inserts are refused: the rest is for draining
    listing_bytes_max: int = 64 * 2**20  # of the values in one listing
    waiters_max: int = 10_000  # claims waiting at this node
    connections_max: int = 4_096  # per listener
    text_rate_max: int = 0  # requests a second of one text connection; more wait. 0: no limit
    bytes_held_max: int = 4 * 2**30  # of values, errors and 400 a task: beyond, no inserts
