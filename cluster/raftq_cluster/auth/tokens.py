"""A token and what it stands for: the secret that its owner keeps, and the entry that the node reads.

A secret is 256 bits of chance, so that one SHA-256 of it can be stored: there is nothing to guess that a
slow, salted hash would have to protect, and a node can check a token with every request. Secrets are
never logged, and never in an error. Source: ``docs/security.md``.
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from secrets import token_urlsafe
from typing import Final, NamedTuple

from raftq_cluster.core.rights import ALL, NAMES, Grant, Grants

PREFIX: Final = "rq_"  # so that scanners of repositories and logs can find one
SECRET_BYTES: Final = 32
SECRET_CHARS_MAX: Final = 256  # of what a caller gives; nothing longer is hashed
GRANTS_MAX: Final = 64  # of one token: they travel with its modifications
PATTERN_BYTES_MAX: Final = 256  # as a queue's name
NAME_CHARS_MAX: Final = 64

_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._@-]{{0,{NAME_CHARS_MAX - 1}}}")
_BY_NAME: Final = {name: right for right, name in NAMES.items()} | {"all": ALL}


class Principal(NamedTuple):
    """On whose behalf something is asked: a token's name and its grants."""

    name: str
    grants: Grants


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


def parse_grants(texts: Iterable[str]) -> tuple[Grant, ...]:
    """Read ``RIGHT[,RIGHT...]:PATTERN`` each; rights of one pattern add up.

    Raises:
        ValueError: one clause that says what is wrong.
    """
    found: dict[str, int] = {}
    for text in texts:
        words, _, pattern = text.partition(":")
        rights = [word.strip() for word in words.split(",")]
        for word in rights:
            if word not in _BY_NAME:
                raise ValueError(f"{text!r}: {word!r} is none of {', '.join(_BY_NAME)}")
        _check_pattern(pattern, text)
        for word in rights:
            found[pattern] = found.get(pattern, 0) | _BY_NAME[word]
    if not found:
        raise ValueError("no right is given")
    if len(found) > GRANTS_MAX:
        raise ValueError(f"{len(found)} patterns are more than {GRANTS_MAX}")
    return tuple(sorted(found.items()))


def entry_text(name: str, secret: str, rights: Sequence[str]) -> str:
    """Write the entry for the tokens file."""
    listed = ", ".join(f'"{_escaped(text)}"' for text in rights)
    return f'[[token]]\nname = "{name}"\nsha256 = "{digest_of(secret)}"\nrights = [{listed}]\n'


def _check_pattern(pattern: str, text: str) -> None:
    if not pattern or not pattern.isprintable() or " " in pattern:
        raise ValueError(f"{text!r} is not RIGHT[,RIGHT...]:PATTERN")
    if "*" in pattern[:-1]:
        raise ValueError(f"{text!r}: a pattern is a queue's name, or a prefix with one * behind it")
    if len(pattern.encode()) > PATTERN_BYTES_MAX:
        raise ValueError(f"a pattern is longer than {PATTERN_BYTES_MAX} bytes")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
