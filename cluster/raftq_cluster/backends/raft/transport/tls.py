"""Mutual TLS between members: contexts, and the node id that a certificate stands for.

A certificate names its node in a subject alternative name ``URI:raftq:node:NAME``; one that has no
``URI:raftq:…`` at all, in its common name. (One of ``URI:raftq:client:NAME`` is no node's.) Host names are not checked: a node may move, its identity may not.
"""

import logging
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from raftq_cluster.config import StartError

_log: Final = logging.getLogger(__name__)

_OURS: Final = "raftq:"
_URI_PREFIX: Final = "raftq:node:"


class PeerTls(NamedTuple):
    """PEM files: this node's certificate and key, and the authority that signs all members'."""

    cert: Path
    key: Path
    ca: Path


class Contexts:
    """What both sides of connections use. Files that have changed are read again for new ones."""

    def __init__(self, files: PeerTls) -> None:
        self._files = files
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.client.check_hostname = False  # the identity is checked instead, see ``node_of``
        for context in (self.server, self.client):
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.verify_mode = ssl.CERT_REQUIRED
        self._seen = self._times()
        self._load()

    def refresh(self, *, always: bool = False) -> None:
        """Read the files again if they have changed, or in any case. Raises nothing; see the log.

        Files that cannot be used change nothing: while two of them are being replaced, they do not fit.
        """
        times = self._times()
        if times == self._seen and not always:
            return
        self._seen = times
        try:
            self._load()
        except StartError as error:
            _log.error("%s; the files that were read before still count", error)

    def _load(self) -> None:
        files = self._files
        # A context that loading fails for is of no use any more: try another one first.
        for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.server, self.client):
            try:
                context.load_cert_chain(files.cert, files.key)
            except (OSError, ssl.SSLError) as error:
                raise StartError(
                    f"--peer-cert, --peer-key: {files.cert} and {files.key} cannot be used: {error}"
                ) from error
            try:
                context.load_verify_locations(files.ca)
            except (OSError, ssl.SSLError) as error:
                raise StartError(f"--peer-ca: {files.ca} cannot be used: {error}") from error

    def _times(self) -> list[int]:
        return [path.stat().st_mtime_ns if path.exists() else 0 for path in self._files]


def node_of(certificate: Mapping[str, Any] | None) -> str:
    """The node that a verified certificate (as ``getpeercert`` gives it) stands for; "" if none."""
    if not certificate:
        return ""
    ours = [
        str(value)
        for kind, value in certificate.get("subjectAltName", ())
        if kind == "URI" and value.startswith(_OURS)
    ]
    if ours:
        nodes = [uri.removeprefix(_URI_PREFIX) for uri in ours if uri.startswith(_URI_PREFIX)]
        return nodes[0] if nodes else ""
    for part in certificate.get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return ""
