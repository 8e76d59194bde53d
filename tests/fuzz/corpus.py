"""The inputs that are kept: a text file for each target, a line for each input, ``NAME BASE64``.

``seed-…`` are written by the target's ``seeds()``, ``found-…`` by searches that met something new, ``crash-…`` once broke a
property and are mended.
"""

import base64
import importlib
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Final

from tests.fuzz import targets

CORPUS: Final = Path(__file__).with_name("corpus")
FOUND_BYTES_MAX: Final = 512  # of an input that is kept; longer ones say little more
FOUND_MAX: Final = 60  # inputs of a target
NAMES: Final = tuple(
    sorted(
        path.stem for path in Path(targets.__file__).parent.glob("*.py") if path.stem != "__init__"
    )
)


def target(name: str) -> ModuleType:
    """The module of a target."""
    return importlib.import_module(f"tests.fuzz.targets.{name}")


def kept(name: str) -> dict[str, bytes]:
    """All inputs of a target that are kept."""
    path = CORPUS / f"{name}.txt"
    lines = path.read_text("ascii").splitlines() if path.exists() else []
    words = (line.split(" ") for line in lines)
    return {word: base64.b64decode(text) for word, text in words}


def keep(name: str, inputs: dict[str, bytes]) -> None:
    """Write the inputs of a target."""
    lines = [f"{word} {base64.b64encode(data).decode()}\n" for word, data in sorted(inputs.items())]
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{name}.txt").write_text("".join(lines), "ascii")


def seeded(name: str) -> dict[str, bytes]:
    """The inputs of a target with its seeds written anew."""
    rest = {word: data for word, data in kept(name).items() if not word.startswith("seed-")}
    seeds = dict.fromkeys(target(name).seeds())
    return {f"seed-{number:03d}": data for number, data in enumerate(seeds)} | rest


def word_of(data: bytes) -> str:
    """What an input is called in which something new was met."""
    return f"found-{blake2b(data, digest_size=6).hexdigest()}"
