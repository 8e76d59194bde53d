"""Limits of the HTTP server itself: how long it waits for a peer, and how much it lets a peer say.

What a request may ask for (bytes of a body, operations, waiters) is the service's to say.
"""

from dataclasses import dataclass
from typing import Final

REQUEST_LINE_BYTES_MAX: Final = 72 * 1024  # a query of 1,000 ids of 64 bytes fits
HEADER_BYTES_MAX: Final = 8_190  # of one header field
HEADERS_MAX: Final = 64  # fields of one request; browsers and proxies send about 20
STRANGERS_MAX: Final = 256  # connections without a token as yet, where one is asked for
CONNECTIONS_REFUSED_MAX: Final = 64  # told so at one time; those above are just closed
RECEIVING_BYTES_MAX: Final = 256 * 1024 * 1024  # of all bodies that are still on their way


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long the server waits for a peer, in seconds. Tests shorten it."""

    head_s: float = 10.0  # first byte to last of a request's head: a slow one pins a connection
    body_s: float = 30.0  # of a request's body
    idle_s: float = 75.0  # between requests, or without progress in taking an answer
    linger_s: float = 2.0  # for what a refused peer still sends, so that it can read why
    sweep_s: float = 1.0  # between looks at the clock: how late the others may be
