"""Finds the Pythons of this machine that raftq supports, for tests that compare them.

Looks at the one that runs, at ``python3.N`` on PATH, at pyenv's versions, and at whatever the
variable ``RAFTQ_TEST_PYTHONS`` lists (paths of interpreters, separated as PATH is). Knows nothing of
what they are used for: they have no third-party package.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

VARIABLE: Final = "RAFTQ_TEST_PYTHONS"
OLDEST: Final = (3, 11)
NEWEST_MINOR: Final = 20  # names to try on PATH
ANSWER_S: Final = 20.0  # an interpreter that takes longer to start is of no use to a test
_WHO: Final = (
    "import sys; print(sys.implementation.name, *sys.version_info[:3], sys.executable, sep='\\n')"
)


class Interpreter(NamedTuple):
    """A CPython that starts."""

    version: tuple[int, int, int]
    path: Path

    @property
    def label(self) -> str:
        return ".".join(map(str, self.version))


@cache
def interpreters() -> tuple[Interpreter, ...]:
    """One CPython of each supported minor version, oldest first; the running one is among them."""
    found = {sys.version_info[:2]: Interpreter(sys.version_info[:3], Path(sys.executable))}
    for candidate in dict.fromkeys(_candidates()):
        interpreter = _ask(candidate)
        if interpreter is not None:
            found.setdefault(interpreter.version[:2], interpreter)
    return tuple(sorted(found.values()))


def _candidates() -> Iterator[Path]:
    for listed in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        yield Path(listed)
    for minor in range(OLDEST[1], NEWEST_MINOR + 1):
        on_path = shutil.which(f"python3.{minor}")
        if on_path is not None:
            yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    yield from sorted(pyenv.glob("versions/3.*/bin/python"))


def _ask(candidate: Path) -> Interpreter | None:
    """Start it and see: a name on PATH may be a shim with nothing behind it."""
    try:
        answer = subprocess.run(
            [candidate, "-I", "-c", _WHO],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=True,
        ).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    name, major, minor, micro, executable = answer
    version = (int(major), int(minor), int(micro))
    if name != "cpython" or version < OLDEST:
        return None
    return Interpreter(version, Path(executable))
