"""From addresses to a transport: the only place that names the concrete channels."""

from raftq.credentials import Credentials
from raftq.transport.api import Channel, Transport
from raftq.transport.failover import Failover, Pacing
from raftq.transport.urls import Address, parse_urls, split_secret


def open_transport(
    urls: str | None,
    body_bytes_max: int,
    pacing: Pacing | None = None,
    credentials: Credentials | None = None,
) -> Transport:
    """Make the transport for some URLs; nothing is connected yet.

    Raises:
        InvalidRequest: they are no URLs of raftq, or the credentials cannot be used.
    """
    places, secret = split_secret(urls)
    addresses = parse_urls(places)
    credentials = (credentials or Credentials()).completed(secret)
    credentials.secret()  # what is wrong with it is better said at once
    channels = [_channel(address, credentials) for address in addresses]
    return Failover(channels, body_bytes_max=body_bytes_max, pacing=pacing)


def _channel(address: Address, credentials: Credentials) -> Channel:
    if address.scheme in ("http", "https"):
        from raftq.transport.http import HttpChannel  # noqa: PLC0415 - aiohttp is slow to import

        return HttpChannel(address, credentials)
    from raftq.transport.text import TextChannel  # noqa: PLC0415 - only one of the two is needed

    return TextChannel(address, credentials)
