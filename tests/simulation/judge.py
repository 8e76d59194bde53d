"""Who collects what went wrong."""

from collections.abc import Callable


class BrokenError(Exception):
    """A promise was broken; the run need not go on."""


class Judge:
    """Sentences about broken promises. ``note`` takes each for the trace."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self.sentences: list[str] = []

    def blame(self, sentence: str) -> None:
        self.sentences.append(sentence)
        self._note(f"BROKEN: {sentence}")

    @property
    def is_broken(self) -> bool:
        return bool(self.sentences)
