"""How a client says who it is, and how it knows whom it speaks to: a token, and PEM files of TLS.

What is not given is looked for in the environment. No secret is ever shown: not in a ``repr``, not in an
error. Source: ``docs/security.md``.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from raftq.errors import InvalidRequest

TOKEN_VARIABLE: Final = "RAFTQ_TOKEN"  # noqa: S105 - the name of a variable
TOKEN_FILE_VARIABLE: Final = "RAFTQ_TOKEN_FILE"  # noqa: S105 - the same
CA_VARIABLE: Final = "RAFTQ_CA"
CERT_VARIABLE: Final = "RAFTQ_CERT"
KEY_VARIABLE: Final = "RAFTQ_KEY"
SECRET_CHARS_MAX: Final = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """A token and files; "" is what the environment says, or none.

    Args:
        token: the secret; ``RAFTQ_TOKEN``. A URL may have it as well: ``raftqs://TOKEN@HOST``.
        token_file: a file with the secret, read for every connection; ``RAFTQ_TOKEN_FILE``.
        ca: PEM file of the authority that signs the nodes; ``RAFTQ_CA``. Without it, those that the
            system trusts.
        cert: PEM file of this client's certificate, where nodes ask for one; ``RAFTQ_CERT``.
        key: PEM file of its key, not encrypted; ``RAFTQ_KEY``. It may stand in ``cert`` as well.
    """

    token: str = field(default="", repr=False)
    token_file: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""

    def completed(self, secret_of_url: str = "") -> Self:
        """Give these with what the URL, and then the environment, say where these say nothing."""
        environ = os.environ.get
        token = self.token or ("" if self.token_file else secret_of_url)
        token_file = self.token_file
        if not token and not token_file:
            token = environ(TOKEN_VARIABLE, "")
            token_file = "" if token else environ(TOKEN_FILE_VARIABLE, "")
        cert = self.cert or environ(CERT_VARIABLE, "")
        return type(self)(
            token=token,
            token_file=token_file,
            ca=self.ca or environ(CA_VARIABLE, ""),
            cert=cert,
            key=self.key or ("" if self.cert else environ(KEY_VARIABLE, "")),
        )

    def secret(self) -> str:
        """Give the token, "" if there is none.

        Raises:
            InvalidRequest: the file cannot be read, or what is there is no token.
        """
        secret = self.token
        if not secret and self.token_file:
            try:
                secret = Path(self.token_file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                why = getattr(error, "strerror", None) or "it is no text"
                raise InvalidRequest(f"the token file {self.token_file}: {why}") from None
            if not secret:
                raise InvalidRequest(f"the token file {self.token_file} is empty")
        is_plain = secret.isascii() and secret.isprintable() and " " not in secret
        if secret and not (is_plain and len(secret) <= SECRET_CHARS_MAX):
            raise InvalidRequest(
                f"a token is at most {SECRET_CHARS_MAX} printable characters without a space;"
                " this one is not"
            )
        return secret
