"""A token as its owner and the tokens file know it: the secret, and the entry that is kept of it.

A secret is 256 bits of chance, so that one SHA-256 of it can be stored: there is nothing to guess that a
slow, salted hash would have to protect, and a node can check a token with every request. An entry says what
its token may do as ``RIGHT[,RIGHT...]:PATTERN`` each. Source: ``docs/security.md``.
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from secrets import token_urlsafe
from typing import Final

RIGHTS: Final = ("read", "insert", "claim", "change", "delete", "admin")
ALL_RIGHTS: Final = "all"  # the word for every one of them
PREFIX: Final = "rq_"  # so that scanners of repositories and logs can find one
SECRET_BYTES: Final = 32
SECRET_CHARS_MAX: Final = 256  # of what a caller gives; nothing longer is hashed
GRANTS_MAX: Final = 64  # of one token: they travel with its modifications
PATTERN_BYTES_MAX: Final = 256  # as a queue's name
NAME_CHARS_MAX: Final = 64

_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._@-]{{0,{NAME_CHARS_MAX - 1}}}")


def new_secret() -> str:
    """Make the secret of a new token."""
    return PREFIX + token_urlsafe(SECRET_BYTES)


def digest_of(secret: str) -> str:
    """Give what is stored of a secret: 64 hexadecimal digits."""
    return sha256(secret.encode(errors="surrogateescape")).hexdigest()


def check_name(name: str) -> None:
    """Refuse what cannot be a token's name.

    Raises:
        ValueError: one clause that says why.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a name of at most {NAME_CHARS_MAX} letters, digits and . _ @ -"
        )


def parse_rights(texts: Iterable[str]) -> dict[str, frozenset[str]]:
    """Read ``RIGHT[,RIGHT...]:PATTERN`` each as pattern -> rights; those of one pattern add up.

    Raises:
        ValueError: one clause that says what is wrong.
    """
    found: dict[str, frozenset[str]] = {}
    for text in texts:
        words, _, pattern = text.partition(":")
        rights = {word.strip() for word in words.split(",")}
        for word in sorted(rights - {*RIGHTS, ALL_RIGHTS}):
            raise ValueError(f"{text!r}: {word!r} is none of {', '.join((*RIGHTS, ALL_RIGHTS))}")
        _check_pattern(pattern, text)
        if ALL_RIGHTS in rights:
            rights = set(RIGHTS)
        found[pattern] = found.get(pattern, frozenset()) | rights
    if not found:
        raise ValueError("no right is given")
    if len(found) > GRANTS_MAX:
        raise ValueError(f"{len(found)} patterns are more than {GRANTS_MAX}")
    return found


def entry_text(name: str, digest: str, rights: Sequence[str]) -> str:
    """Write an entry of the tokens file (TOML), of which ``digest`` is that of the secret."""
    listed = ", ".join(f'"{_escaped(text)}"' for text in rights)
    return f'[[token]]\nname = "{name}"\nsha256 = "{digest}"\nrights = [{listed}]\n'


def _check_pattern(pattern: str, text: str) -> None:
    if not pattern or not pattern.isprintable() or " " in pattern:
        raise ValueError(f"{text!r} is not RIGHT[,RIGHT...]:PATTERN")
    if "*" in pattern[:-1]:
        raise ValueError(f"{text!r}: a pattern is a queue's name, or a prefix with one * behind it")
    if len(pattern.encode()) > PATTERN_BYTES_MAX:
        raise ValueError(f"a pattern is longer than {PATTERN_BYTES_MAX} bytes")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
