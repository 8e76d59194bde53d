"""Tokens for tests: a file with the rights that a test gives, and its store.

    tokens = Tokens(tmp_path, worker=["claim:/mail/*"])
    async with serving(tokens=tokens.store) as node: ...
    tokens.write(worker=[...])     # and the store has read it

The secret of a token is its name behind ``rq_``.
"""

from collections.abc import Sequence
from pathlib import Path

from raftq.wire.tokens import RIGHTS, digest_of, entry_text
from raftq_cluster.auth.store import TokenStore


def secret_of(name: str) -> str:
    """The secret of the token of this name."""
    return f"rq_{name}"


def write_tokens(path: Path, **rights: Sequence[str]) -> None:
    """Write a tokens file, all at once."""
    aside = path.with_suffix(".new")
    aside.write_text(
        "\n".join(entry_text(name, digest_of(secret_of(name)), r) for name, r in rights.items())
    )
    aside.chmod(0o600)
    aside.replace(path)


def all_but(right: str, pattern: str = "*") -> list[str]:
    """Every right but one."""
    return [f"{','.join(name for name in RIGHTS if name != right)}:{pattern}"]


class Tokens:
    """A tokens file and the store that a node has of it."""

    def __init__(self, folder: Path, **rights: Sequence[str]) -> None:
        self.path = folder / "tokens.toml"
        write_tokens(self.path, **rights)
        self.store = TokenStore(self.path)

    def write(self, **rights: Sequence[str]) -> None:
        """Replace the tokens; the store knows it on return."""
        write_tokens(self.path, **rights)
        self.store.refresh(always=True)
