"""From addresses to a transport: the only place that names the concrete channels."""

from raftq.transport.api import Channel, Transport
from raftq.transport.failover import Failover, Pacing
from raftq.transport.urls import Address, parse_urls


def open_transport(
    urls: str | None, body_bytes_max: int, pacing: Pacing | None = None
) -> Transport:
    """Make the transport for some URLs; nothing is connected yet.

    Raises:
        InvalidRequest: they are no URLs of raftq.
    """
    channels = [_channel(address) for address in parse_urls(urls)]
    return Failover(channels, body_bytes_max=body_bytes_max, pacing=pacing)


def _channel(address: Address) -> Channel:
    if address.scheme == "http":
        from raftq.transport.http import HttpChannel  # noqa: PLC0415 - aiohttp is slow to import

        return HttpChannel(address)
    from raftq.transport.text import TextChannel  # noqa: PLC0415 - only one of the two is needed

    return TextChannel(address)
