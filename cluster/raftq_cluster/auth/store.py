"""The tokens file in memory: read at start, and again when it has changed.

A file that is broken when it is read again changes nothing, and the log says so; at start it is refused.
Lookups go by digest: how long one takes tells about digests, and those of 256 bits of chance cannot be
steered. Source: ``docs/security.md``.
"""

import os
import stat
from collections.abc import Callable
from hmac import compare_digest
from pathlib import Path
from typing import Final

import msgspec
import structlog

from raftq.wire.tokens import SECRET_CHARS_MAX, check_name, digest_of
from raftq_cluster.auth.tokens import Principal, parse_grants

FILE_BYTES_MAX: Final = 4 * 2**20
TOKENS_MAX: Final = 10_000
_DIGEST_CHARS: Final = 64
_NO_DIGEST: Final = "-" * _DIGEST_CHARS

_log = structlog.get_logger(__name__)


class TokensError(ValueError):
    """The tokens file cannot be used. The message is one sentence without a stop, and without secrets."""


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    sha256: str
    rights: list[str]


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    token: list[_Entry] = []


class TokenStore:
    """The tokens of one file.

    Args:
        path: of the file; it is read at once.

    Raises:
        TokensError: it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.generation = 0
        """Changes whenever the tokens do: what was looked up before must be looked up again."""
        self._seen: object = None
        self._told: list[Callable[[], None]] = []
        self._principals: dict[str, Principal] = {}
        self._read()

    def find(self, digest: str) -> Principal | None:
        """Give whom a digest stands for."""
        found = self._principals.get(digest)
        stored = digest if found is not None else _NO_DIGEST
        return found if compare_digest(stored, digest) else None

    def identify(self, secret: str) -> tuple[str, Principal] | None:
        """Give the digest of a secret and whom it stands for; None: nobody."""
        if len(secret) > SECRET_CHARS_MAX:
            return None
        digest = digest_of(secret)
        principal = self.find(digest)
        return None if principal is None else (digest, principal)

    def on_change(self, tell: Callable[[], None]) -> None:
        """Have a function called whenever the tokens have changed."""
        self._told.append(tell)

    def refresh(self, *, always: bool = False) -> None:
        """Read the file again if it has changed, or in any case. Raises nothing; see the log."""
        if not always and self._signature() == self._seen:
            return
        try:
            self._read()
        except TokensError as error:
            _log.error(
                "tokens file is not used, the tokens read before still count", why=str(error)
            )
        else:
            _log.info("tokens file read", tokens=len(self._principals))
            for tell in self._told:
                tell()

    def _read(self) -> None:
        self._seen = self._signature()
        try:
            with self._path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            raise TokensError(f"{self._path} cannot be read: {error.strerror}") from error
        if len(data) > FILE_BYTES_MAX:
            raise TokensError(f"{self._path} is larger than {FILE_BYTES_MAX} bytes")
        self._principals = _parse(self._path, data)
        self.generation += 1
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            _log.warning(
                "tokens file can be reached by others than its owner", path=str(self._path)
            )

    def _signature(self) -> object:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def _parse(path: Path, data: bytes) -> dict[str, Principal]:
    try:
        document = msgspec.toml.decode(data, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TokensError(f"{path} is no tokens file: {error}") from None
    if len(document.token) > TOKENS_MAX:
        raise TokensError(f"{path} has more than {TOKENS_MAX} tokens")
    principals: dict[str, Principal] = {}
    for number, entry in enumerate(document.token, 1):
        digest = entry.sha256.lower()
        try:
            check_name(entry.name)
            if len(digest) != _DIGEST_CHARS or set(digest) - set("0123456789abcdef"):
                raise ValueError("sha256 is not 64 hexadecimal digits")  # noqa: TRY301 - one place tells where
            if digest in principals:
                raise ValueError("its sha256 stands in another entry, too")  # noqa: TRY301 - the same
            principals[digest] = Principal(entry.name, parse_grants(entry.rights))
        except ValueError as error:
            raise TokensError(f"{path}, token {number}: {error}") from None
    return principals
