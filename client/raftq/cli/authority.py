"""A private authority of one's own, and the certificates that it signs, as PEM files in a folder.

For development, and for clusters whose owner has no authority yet. One certificate of a node serves all its
ports: other nodes know it by ``URI:raftq:node:NAME``, clients by its host names. A client's certificate has
``URI:raftq:client:NAME`` and cannot be taken for a node's. Source: ``docs/security.md``, RFC 5280.

Needs the package ``cryptography`` (``raftq[certs]``), which nothing else of the client imports.
"""

import datetime as dt
import os
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY: Final = "ca"
AUTHORITY_DAYS: Final = 3_650
NODE_URI: Final = "raftq:node:"
CLIENT_URI: Final = "raftq:client:"
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_BACKDATED: Final = dt.timedelta(hours=1)  # for machines whose clocks are behind
_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o644


class AuthorityError(Exception):
    """The authority in the folder cannot be used. The message is one sentence."""


class Pair(NamedTuple):
    """A certificate and its key, as files."""

    cert: Path
    key: Path


class Authority:
    """The authority of a folder: the one that is there, or a new one.

    Args:
        folder: is made if it is not there.
        now: of the certificates that are signed.

    Raises:
        AuthorityError: what is there cannot be used.
        OSError: the folder cannot be read or written.
    """

    def __init__(self, folder: Path, now: dt.datetime) -> None:
        self.pair = Pair(folder / f"{AUTHORITY}.pem", folder / f"{AUTHORITY}.key")
        self._folder = folder
        self._now = now
        folder.mkdir(parents=True, exist_ok=True)
        self.is_new = not (self.pair.cert.exists() or self.pair.key.exists())
        if self.is_new:
            self._make()
        else:
            self._load()

    def certify_node(self, name: str, hosts: Sequence[str], days: int) -> Pair:
        """Make the certificate of a node that clients reach under ``hosts``; an old one is replaced."""
        names = [x509.UniformResourceIdentifier(NODE_URI + name)]
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]  # nodes dial, too
        return self._certify(name, name, [*names, *_names(hosts)], both, days)

    def certify_client(self, name: str, days: int) -> Pair:
        """Make the certificate of a client; an old one is replaced."""
        names = [x509.UniformResourceIdentifier(CLIENT_URI + name)]
        # A blank in the common name: no node can be called so.
        common_name = f"client {name}"
        return self._certify(name, common_name, names, [ExtendedKeyUsageOID.CLIENT_AUTH], days)

    def _make(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject("raftq private authority")
        builder = (
            _builder(subject, subject, self._key.public_key(), self._now, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
        )
        self._certificate = builder.sign(self._key, hashes.SHA256())
        _write_pair(self.pair, self._certificate, self._key)

    def _load(self) -> None:
        cert, key = self.pair
        try:
            self._certificate = x509.load_pem_x509_certificate(cert.read_bytes())
            loaded = serialization.load_pem_private_key(key.read_bytes(), password=None)
        except FileNotFoundError as error:
            raise AuthorityError(f"{error.filename} is missing, and {cert} needs its key") from None
        except (ValueError, TypeError) as error:
            raise AuthorityError(f"{cert} and {key} are no authority of raftq: {error}") from None
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise AuthorityError(f"{key} is no elliptic-curve key")
        if loaded.public_key() != self._certificate.public_key():
            raise AuthorityError(f"{key} is not the key of {cert}")
        if self._certificate.not_valid_after_utc <= self._now:
            raise AuthorityError(f"{cert} has expired; make a new authority in another folder")
        self._key = loaded

    def _certify(
        self,
        stem: str,
        common_name: str,
        names: Sequence[x509.GeneralName],
        purposes: list[x509.ObjectIdentifier],
        days: int,
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self._certificate
        builder = (
            _builder(_subject(common_name), issuer.subject, key.public_key(), self._now, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        pair = Pair(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        _write_pair(pair, builder.sign(self._key, hashes.SHA256()), key)
        return pair


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: dt.datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys(hosts):
        try:
            names.append(x509.IPAddress(ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def _write_pair(pair: Pair, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    """Write both, so that whoever reads them meanwhile finds the old ones or the new ones whole."""
    as_pem = serialization.Encoding.PEM
    private = key.private_bytes(
        as_pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    ready = [
        (_write_aside(pair.key, private, _PRIVATE), pair.key),
        (_write_aside(pair.cert, certificate.public_bytes(as_pem), _PUBLIC), pair.cert),
    ]
    for aside, path in ready:
        aside.replace(path)


def _write_aside(path: Path, data: bytes, mode: int) -> Path:
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    with open(aside, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return aside
