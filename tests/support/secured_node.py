"""A real ``raftqd`` with TLS and tokens, whose files ``raftq cert dev`` and ``raftq token new`` have made.

with SecuredNode(tmp_path) as node:
    with raftq.Client(node.url, credentials=node.credentials("ops")) as client: ...
"""

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import raftq
from tests.support.node_process import NodeProcess, child_environment


def run_raftq(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "raftq.cli", *arguments],
        cwd=cwd, env=child_environment(env), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


class SecuredNode:
    """One node, its certificates in ``certs`` and its tokens in ``tokens.toml``, both in its folder."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder = folder
        self.certs = folder / "certs"
        self.tokens = folder / "tokens.toml"
        self.secrets: dict[str, str] = {}
        self.certify()
        self.grant("ops", "all:*")
        self.process = NodeProcess(
            folder / "data",
            "--tls-cert", str(self.certs / "n1.pem"), "--tls-key", str(self.certs / "n1.key"),
            "--tokens", str(self.tokens), *flags,
        )  # fmt: skip

    def __enter__(self) -> Self:
        self.process.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()

    def certify(self) -> None:
        """Make the certificates of the node and of a client, anew."""
        run_raftq("cert", "dev", "--out", str(self.certs), "n1", cwd=self.folder).check_returncode()

    def grant(self, name: str, *rights: str) -> str:
        """Make a token; gives its secret."""
        grants = [word for right in rights for word in ("--grant", right)]
        made = run_raftq("token", "new", name, *grants, "--file", str(self.tokens), cwd=self.folder)
        made.check_returncode()
        self.secrets[name] = made.stdout.strip()
        return self.secrets[name]

    def revoke_all(self) -> None:
        """Take all tokens away."""
        aside = self.tokens.with_suffix(".new")
        aside.touch(0o600)
        aside.replace(self.tokens)

    def credentials(self, name: str = "", *, certified: bool = False) -> raftq.Credentials:
        """What a client needs to be ``name``; "": nobody."""
        own = ("client.pem", "client.key") if certified else ("", "")
        cert, key = (str(self.certs / file) if file else "" for file in own)
        return raftq.Credentials(
            token=self.secrets.get(name, ""), ca=str(self.certs / "ca.pem"), cert=cert, key=key
        )

    @property
    def url(self) -> str:
        """Of the text port."""
        return f"raftqs://{self.process.facts['text']}"

    @property
    def http_url(self) -> str:
        """Of the HTTP port."""
        return f"https://{self.process.facts['http']}"
