"""Why a node cannot start, or cannot go on: one sentence for the operator, and an exit code.

Every layer under the node raises :class:`StartError` for what an operator can put right; nothing else
of this package is known there.
"""

from typing import Final

EXIT_ERROR: Final = 1  # the machine, the disk, the port
EXIT_USAGE: Final = 2  # a flag, a variable, a key of the file


class StartError(Exception):
    """The node cannot start. The message is one whole sentence for the operator, without a stop."""

    def __init__(self, sentence: str, *, exit_code: int = EXIT_ERROR) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.exit_code = exit_code
