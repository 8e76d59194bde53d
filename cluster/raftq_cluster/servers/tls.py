"""TLS of the ports for clients: a context made of files, and a new one when the files have changed.

Every connection takes the context that is current when it begins, so a renewed certificate, or another
authority, counts for new connections, and old ones go on. Source: ``docs/security.md``.
"""

import ssl
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from raftq_cluster.config import StartError

_log = structlog.get_logger(__name__)

_MISMATCH: Final = "KEY_VALUES_MISMATCH"


class TlsFiles(NamedTuple):
    """PEM files. With ``ca``, clients must show a certificate that this authority has signed."""

    cert: Path
    key: Path
    ca: Path | None = None


class ServerTls:
    """The contexts of one node.

    Raises:
        StartError: a file cannot be used.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._seen = self._signature()
        self.context = context_of(files)
        """For connections that begin now."""

    def refresh(self, *, always: bool = False) -> None:
        """Read the files again if they have changed, or in any case. Raises nothing; see the log.

        Files that cannot be used change nothing. (While two of them are being replaced, they do not fit.)
        """
        signature = self._signature()
        if signature == self._seen and not always:
            return
        self._seen = signature
        try:
            self.context = context_of(self._files)
        except StartError as error:
            _log.error("certificate is not used, the one read before still counts", why=str(error))
        else:
            _log.info("certificate read", path=str(self._files.cert))

    def _signature(self) -> object:
        return [_signature_of(path) for path in self._files if path is not None]


def context_of(files: TlsFiles) -> ssl.SSLContext:
    """Make a context.

    Raises:
        StartError: a file cannot be used; the sentence names its flag.
    """
    cert, key, ca = files
    _require(cert, "--tls-cert", b"-----BEGIN CERTIFICATE-----", "certificate")
    _require(key, "--tls-key", b" PRIVATE KEY-----", "private key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Nothing of a session outlives it: neither the rights of a certificate nor the files of a node.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except _EncryptedError:
        raise StartError(f"--tls-key: {key} is encrypted; a node can ask nobody for it") from None
    except ssl.SSLError as error:
        if error.reason == _MISMATCH:
            raise StartError(f"--tls-key: {key} is not the key of {cert}") from error
        raise StartError(
            f"--tls-cert, --tls-key: {cert} and {key} cannot be used: {error}"
        ) from error
    if ca is not None:
        _require(ca, "--tls-ca", b"-----BEGIN CERTIFICATE-----", "certificate")
        try:
            context.load_verify_locations(ca)
        except ssl.SSLError as error:
            raise StartError(f"--tls-ca: {ca} cannot be used: {error}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class _EncryptedError(Exception):
    """A password would be needed."""


def _no_password() -> str:
    raise _EncryptedError


def _require(path: Path, flag: str, mark: bytes, what: str) -> None:
    """Look into a file, because the library does not say which of several it means."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StartError(f"{flag}: {path} cannot be read: {error.strerror}") from error
    if mark not in data:
        raise StartError(f"{flag}: {path} holds no {what} in PEM")


def _signature_of(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
