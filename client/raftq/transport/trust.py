"""TLS as a client sees it: the context of its connections, and what their failures mean in a sentence."""

import ssl
from pathlib import Path
from typing import Final

from raftq.credentials import Credentials
from raftq.errors import InvalidRequest, ProtocolError, RaftqError, Untrusted

# What OpenSSL says of an answer that is no TLS at all, whatever its first bytes are.
_NO_TLS: Final = frozenset(
    (
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "UNKNOWN_PROTOCOL",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",
        "UNEXPECTED_MESSAGE",
    )
)
_PLAIN: Final = {"raftqs": "raftq", "https": "http"}
_UNCERTIFIED: Final = " (so a node ends it that asks for certificates: RAFTQ_CERT and RAFTQ_KEY)"
_MISMATCHES: Final = frozenset((62, 64))  # X509_V_ERR_HOSTNAME_MISMATCH, ..._IP_ADDRESS_MISMATCH


class Trust:
    """Contexts made of a client's files; made anew when a file has changed."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._seen: object = None
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Give the context of a connection that begins now.

        Raises:
            InvalidRequest: a file cannot be used.
        """
        seen = [_signature(path) for path in self._files() if path]
        if self._context is None or seen != self._seen:
            self._context = _context_of(self._credentials)
            self._seen = seen
        return self._context

    def hint(self) -> str:
        """Give what may be behind a connection that ends without a word."""
        return "" if self._credentials.cert else _UNCERTIFIED

    def _files(self) -> tuple[str, str, str]:
        return self._credentials.ca, self._credentials.cert, self._credentials.key


def explained(error: BaseException, address: str) -> RaftqError | None:
    """Tell what a failure of TLS means; None if it is none."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError) and hasattr(cause, "verify_code"):
            return Untrusted(f"{address}: {_mistrust(cause)}")
        reason = getattr(cause, "reason", None)
        if not isinstance(cause, ssl.SSLError) or not isinstance(reason, str):
            continue
        if reason in _NO_TLS:
            scheme = address.partition("://")[0]
            plain = _PLAIN.get(scheme, scheme)
            return ProtocolError(f"{address}: what answers there speaks no TLS (try {plain}://)")
        if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
            return Untrusted(
                f"{address}: the node wants a certificate that it trusts from this client, with its"
                f" key ({reason.lower().replace('_', ' ')})"
            )
    return None


def _causes(error: BaseException) -> list[BaseException]:
    """Give an error and those it came of; aiohttp keeps them in attributes."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or one in found:
            continue
        found.append(one)
        waiting += [one.__cause__, getattr(one, "certificate_error", None)]
        waiting.append(getattr(one, "os_error", None))
    return found


def _mistrust(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _MISMATCHES:
        return f"its certificate is for another name: {error.verify_message}"
    return f"its certificate is not trusted: {error.verify_message}"


def _context_of(credentials: Credentials) -> ssl.SSLContext:
    ca, cert, key = credentials.ca, credentials.cert, credentials.key
    for path in (ca, cert, key):
        _require(path)
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except ssl.SSLError as error:
        raise InvalidRequest(f"{ca} holds no certificates in PEM: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if key and not cert:
        raise InvalidRequest(f"the key {key} is without its certificate")
    if cert:
        try:
            context.load_cert_chain(cert, key or None, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            what = f"{cert} and {key}" if key else f"{cert}"
            raise InvalidRequest(f"{what} are no certificate with its key: {error}") from None
    return context


def _no_password() -> str:
    raise ValueError("it is encrypted")


def _require(path: str) -> None:
    """Find what is missing: the library says of no file which one it means."""
    if path:
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise InvalidRequest(f"{path}: {error.strerror}") from None


def _signature(path: str) -> object:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
