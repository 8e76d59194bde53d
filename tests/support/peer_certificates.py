"""A private authority and node certificates, made with the ``openssl`` command."""

import subprocess
from pathlib import Path

from raftq_cluster.backends.raft.transport.tls import PeerTls


def _openssl(*arguments: str, cwd: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True, capture_output=True)


class Authority:
    """Signs certificates in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=raftq test authority",
            "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            cwd=folder,
        )  # fmt: skip

    def certify(self, node_id: str, *, names: bool = True) -> PeerTls:
        """A certificate of a node; without ``names`` only its common name tells whose it is."""
        folder = self._folder
        (folder / "ext").write_text(
            f"subjectAltName=URI:raftq:node:{node_id}\n" if names else "basicConstraints=CA:FALSE\n"
        )
        _openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", f"{node_id}.key", "-out", f"{node_id}.csr", "-subj", f"/CN={node_id}",
            cwd=folder,
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", f"{node_id}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-out", f"{node_id}.pem", "-days", "2", "-extfile", "ext",
            cwd=folder,
        )  # fmt: skip
        return PeerTls(folder / f"{node_id}.pem", folder / f"{node_id}.key", folder / "ca.pem")
