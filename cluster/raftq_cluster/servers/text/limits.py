"""Limits of the text server itself: how much a peer may leave unanswered, unread or unsaid.

What a request may ask for (bytes of a body, waiters, connections) is the service's to say.
"""

from dataclasses import dataclass
from typing import Final

BATCH_REQUESTS_MAX: Final = 1_024  # begun in one turn of the loop: some milliseconds of work
IN_FLIGHT_MAX: Final = 4_096  # operations and queries of one connection that have no reply yet
IN_FLIGHT_BYTES_MAX: Final = 16 * 2**20  # of one connection's requests that have no reply yet
QUERIES_AT_ONCE: Final = 16  # of one connection: each may hold a large reply
WRITE_HIGH_BYTES: Final = (
    256 * 2**10
)  # unread replies beyond which no more are written, and nothing is begun
REPLIES_AT_ONCE: Final = 16  # written before it is looked at whether the peer still takes them
RECEIVING_BYTES_MAX: Final = 256 * 2**20  # of all requests that are still on their way
STRANGERS_MAX: Final = 256  # connections that have not said who they are, where that is asked for
STRANGERS_RECEIVING_BYTES_MAX: Final = 16 * 2**20  # of all their requests that are on their way
CONNECTIONS_REFUSED_MAX: Final = 64  # told so at one time; those above are just closed

# A peer that vanished without a word is found by the kernel: after about two minutes.
KEEPALIVE_IDLE_S: Final = 60
KEEPALIVE_INTERVAL_S: Final = 15
KEEPALIVE_PROBES: Final = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long the server waits for a peer, in seconds. Tests shorten it."""

    unread_s: float = 30.0  # without progress in taking replies
    linger_s: float = 2.0  # for a peer to read the last words and hang up
    stranger_s: float = 10.0  # for a peer to say who it is, where that is asked for
    sweep_s: float = 1.0  # between looks at the clock: how late the others may be
