"""Whom a token stands for, with its rights as the core knows them. The file's words are the wire's."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from raftq.wire.tokens import parse_rights
from raftq_cluster.core.rights import NAMES, Grant, Grants

_BY_NAME: Final = {name: right for right, name in NAMES.items()}


class Principal(NamedTuple):
    """On whose behalf something is asked: a token's name and its grants."""

    name: str
    grants: Grants


def parse_grants(texts: Iterable[str]) -> tuple[Grant, ...]:
    """Read ``RIGHT[,RIGHT...]:PATTERN`` each; rights of one pattern add up.

    Raises:
        ValueError: one clause that says what is wrong.
    """
    return tuple(
        sorted(
            (pattern, sum(_BY_NAME[right] for right in rights))
            for pattern, rights in parse_rights(texts).items()
        )
    )
