"""Addresses: ``raftq://HOST:PORT[,HOST:PORT…]`` and ``http://HOST:PORT[,…]``; ``raftqs``, ``https`` with TLS.

A token may stand before the first host: ``raftqs://TOKEN@HOST``. It is taken away before anything is read, so
that no error can show it.
"""

import os
import re
from typing import Final, NamedTuple

from raftq.errors import InvalidRequest

DEFAULT_URL: Final = "raftq://127.0.0.1:7979"
URL_VARIABLE: Final = "RAFTQ_URL"
ADDRESSES_MAX: Final = 64  # a cluster has a handful of nodes; more is a mistake
_PORTS: Final = {"raftq": 7979, "raftqs": 7979, "http": 7677, "https": 7677}  # where none is given
_SECRET: Final = re.compile(r"(?<=://)([^@/,]*)@")
_MISPLACED: Final = re.compile(r"(^|,|://)(?:(?!://)[^,])*@")  # where a token may stand by mistake


class Address(NamedTuple):
    """Where one node listens."""

    scheme: str  # raftq or http, or with TLS raftqs or https
    host: str
    port: int

    @property
    def has_tls(self) -> bool:
        """Whether connections begin with TLS."""
        return self.scheme in ("raftqs", "https")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def split_secret(urls: str | None) -> tuple[str, str]:
    """Give the URLs, by default those of ``RAFTQ_URL``, without the token in them, and the token.

    Raises:
        InvalidRequest: there are two different ones.
    """
    text = urls or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    secrets = dict.fromkeys(_SECRET.findall(text))
    if len(secrets) > 1:
        raise InvalidRequest("a client has one token; its URLs have several")
    return _SECRET.sub("", text), next(iter(secrets), "")


def parse_urls(urls: str | None) -> list[Address]:
    """Read addresses, in order; without any, those of ``RAFTQ_URL``, or the default.

    ``raftq://a:1,b:2`` and ``raftq://a:1,raftq://b:2`` mean the same. IPv6 hosts stand in brackets.

    Raises:
        InvalidRequest: it says no such addresses.
    """
    text = urls or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    addresses: list[Address] = []
    scheme = ""
    for part in text.split(","):
        head, separator, rest = part.strip().partition("://")
        if separator:
            scheme = head
        address = _parse(scheme, (rest if separator else head).rstrip("/"), text)
        if address not in addresses:
            addresses.append(address)
    if len({address.scheme for address in addresses}) > 1:
        raise _bad(text, "all addresses of a client have one scheme")
    if len(addresses) > ADDRESSES_MAX:
        raise _bad(text, f"more than {ADDRESSES_MAX} addresses")
    return addresses


def _parse(scheme: str, place: str, text: str) -> Address:
    if scheme not in _PORTS:
        raise _bad(text, "it begins with none of raftq://, raftqs://, http://, https://")
    if "@" in place:
        raise _bad(text, "a token stands before the first host, and an address is HOST:PORT")
    host, port = _split(place)
    bare_ipv6 = ":" in host and not place.startswith("[")
    if not host or bare_ipv6 or any(char in " /?#@" or not char.isprintable() for char in host):
        raise _bad(text, "an address is HOST:PORT")
    if not port:
        return Address(scheme, host, _PORTS[scheme])
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise _bad(text, f"{port!r} is no port")
    return Address(scheme, host, int(port))


def _split(place: str) -> tuple[str, str]:
    """Give host and port ("" if there is none)."""
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = place.rpartition(":") if ":" in place else (place, "", "")
    return host, port


def _bad(text: str, why: str) -> InvalidRequest:
    shown = _MISPLACED.sub(r"\1***@", text)
    return InvalidRequest(f"{shown!r} is no raftq URL: {why}")
