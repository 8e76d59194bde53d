"""Values that say themselves whether they are whole: a tag, and a checksum of it with what follows."""

from zlib import crc32


def value_of(tag: str, padding: str = "") -> str:
    """TAG|CRC|PADDING. Tags have no ``|``."""
    return f"{tag}|{_crc(tag, padding)}|{padding}"


def tag_of(value: bytes) -> str:
    """The tag in a value; what was inserted as JSON may come as its text, in quotes."""
    return value.strip(b'"').partition(b"|")[0].decode(errors="replace")


def is_whole(value: bytes) -> bool:
    """Whether it is what was once inserted, byte for byte."""
    tag, _, rest = value.strip(b'"').decode(errors="replace").partition("|")
    crc, _, padding = rest.partition("|")
    return crc == _crc(tag, padding)


def _crc(tag: str, padding: str) -> str:
    return f"{crc32(f'{tag}|{padding}'.encode()):08x}"
