"""Export and import as a client does them: whole files through the HTTP port of a node, a piece at a time.

The file is read along in both directions (``raftq.wire.export_file``), so that what is not whole is noticed here too.
Knows neither files nor terminals: bytes come and go through functions of the caller.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from raftq.credentials import Credentials
from raftq.errors import ConnectionLost, RaftqError, Unavailable
from raftq.transport.http import HttpChannel
from raftq.transport.urls import Address, parse_urls, split_secret
from raftq.wire.export_file import (
    AbandonReply,
    ExportFileError,
    Footer,
    Header,
    ImportReply,
    Reader,
)
from raftq.wire.formats import decode

if TYPE_CHECKING:
    from raftq.wire.documents import ClusterReply

BACKUP: Final = "/v1/backup"
IMPORT: Final = "/v1/import"
PIECE_BYTES: Final = 256 * 1024
BAD_FILE: Final = "bad_file"
_ANYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - where a node listens, as it tells
_WITH_TLS: Final = {"raftq": "http", "raftqs": "https"}


def http_addresses(url: str, cluster: "Callable[[], ClusterReply]") -> list[Address]:
    """Give the HTTP ports of the nodes: those of the URL, or those that the nodes themselves tell.

    Raises:
        RaftqError: it is no URL of raftq, or what ``cluster`` raises.
    """
    given = parse_urls(split_secret(url)[0])
    if given[0].scheme in ("http", "https"):
        return given
    scheme, told = _WITH_TLS[given[0].scheme], cluster()
    first = [member.http for member in told.members if member.id == told.node]
    others = [member.http for member in told.members if member.id != told.node]
    found = []
    for place in filter(None, (*first, *others)):
        address = parse_urls(f"{scheme}://{place}")[0]
        if address.host in _ANYWHERE:
            address = address._replace(host=given[0].host)
        found.append(address)
    if not found:
        raise Unavailable(
            "no node has told where it serves HTTP: name that port (http://HOST:PORT)"
        )
    return found


async def export(
    addresses: Sequence[Address], credentials: Credentials, write: Callable[[bytes], object]
) -> tuple[Header, Footer]:
    """Have the first node that is there export everything; ``write`` gets the bytes of the file.

    Raises:
        RaftqError: refused, or broken off: what was written by then is no whole file.
    """
    for number, address in enumerate(addresses, 1):
        channel = HttpChannel(address, credentials)
        reader = Reader()
        try:
            async for piece in channel.download(BACKUP):
                for _ in reader.feed(piece):
                    pass
                write(piece)
            footer = reader.end()
        except ConnectionLost:
            if reader.header is not None or number == len(addresses):
                raise
        except ExportFileError as error:
            raise ConnectionLost(f"the export broke off: {error}", maybe_done=True) from error
        else:
            assert reader.header is not None
            return reader.header, footer
        finally:
            await channel.close()
    raise AssertionError("there is always an address")


async def take_in(
    addresses: Sequence[Address], credentials: Credentials, pieces: AsyncIterator[bytes]
) -> ImportReply:
    """Have a node take in a file.

    Raises:
        RaftqError: refused, failed, or of unknown outcome; the same file may be sent again.
    """
    channel = HttpChannel(await _reachable(addresses, credentials), credentials)
    try:
        return decode(await channel.upload("POST", IMPORT, pieces), ImportReply, "json")
    finally:
        await channel.close()


async def abandon_import(addresses: Sequence[Address], credentials: Credentials) -> AbandonReply:
    """Have an unfinished import dropped. Raises as :func:`take_in`."""
    channel = HttpChannel(await _reachable(addresses, credentials), credentials)
    try:
        return decode(await channel.upload("DELETE", IMPORT), AbandonReply, "json")
    finally:
        await channel.close()


async def _reachable(addresses: Sequence[Address], credentials: Credentials) -> Address:
    """Find a node that is there, before anything is sent that cannot be sent twice."""
    for address in addresses[:-1]:
        channel = HttpChannel(address, credentials)
        try:
            async for _ in channel.download("/livez"):
                pass
        except RaftqError:
            continue
        else:
            return address
        finally:
            await channel.close()
    return addresses[-1]


def check(pieces: Iterator[bytes]) -> tuple[Header, Footer]:
    """Read a file to its end.

    Raises:
        RaftqError: ``bad_file``: it is damaged, not whole, or none.
    """
    reader = Reader()
    try:
        for piece in pieces:
            for _ in reader.feed(piece):
                pass
        footer = reader.end()
    except ExportFileError as error:
        raise RaftqError(str(error), code=BAD_FILE) from error
    assert reader.header is not None
    return reader.header, footer
