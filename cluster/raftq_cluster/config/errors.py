"""Why a node cannot start, or cannot go on: one sentence for the operator, and an exit code.

Every layer under the node raises :class:`StartError` for what an operator can put right; nothing else
of this package is known there.
"""

import errno
import socket
from typing import Final

EXIT_ERROR: Final = 1  # the machine, the disk, the port
EXIT_USAGE: Final = 2  # a flag, a variable, a key of the file
_WHY_NOT_LISTENED: Final = {
    errno.EADDRINUSE: "is taken by another process",
    errno.EADDRNOTAVAIL: "is not an address of this machine",
    errno.EACCES: "may not be used by this user",
}


class StartError(Exception):
    """The node cannot start. The message is one whole sentence for the operator, without a stop."""

    def __init__(self, sentence: str, *, exit_code: int = EXIT_ERROR) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.exit_code = exit_code


def why_not_listened(error: OSError) -> str:
    """Say what is wrong with an address that could not be listened on: how the sentence goes on behind it."""
    if isinstance(error, socket.gaierror):
        return "cannot be resolved to an address of this machine"
    number = error.errno or errno.EADDRNOTAVAIL  # for which later Pythons give no number
    return _WHY_NOT_LISTENED.get(number, f"cannot be listened on: {error}")
