"""The start-up self-test: is the Raft library the very one that our hooks were written against?

The hooks of ``core_pysyncobj`` replace private methods. On another version, or on sources that someone
has patched, they could silently miss, and a node that runs on them could lose acknowledged
writes. So a node does not start on anything but the pinned release, byte for byte. Knows the
library only by its description.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from raftq_cluster.config import StartError

VERSION: Final = "0.3.17"
# SHA-256 of the module files of that release whose code runs in a node.
DIGESTS: Final[Mapping[str, str]] = {
    "pysyncobj.syncobj": "e8bdf06797085d734df86e24ab4802fe87893dff77268565ec036f7ad4a1cfe4",
    "pysyncobj.journal": "9cf1eaf6acc704581a4cf7d3de330a404403913107adc91c929778b7e3f35edf",
    "pysyncobj.transport": "0c9d89f9c4781ec9772df8011d7975a1a4a1a5f541357e12eae85a813e92b50b",
    "pysyncobj.node": "e4a3f027cd8291f558334bb9c977e952f6b6989e7e1fa1588d3005ef0b990e2c",
    "pysyncobj.config": "fbbc7ff9f18e4d15a7fd563376e42f5bd192956879d4b810b056d5248b955698",
    "pysyncobj.poller": "f69ac749fb410670282fd9520c5805ffc684c8a5f762a927127753d9be8551e6",
}


class Library(NamedTuple):
    """What is installed: version, module digests, attribute names of the node class, module globals."""

    version: str
    digests: Mapping[str, str]
    names: frozenset[str]
    module_names: frozenset[str]


def verify(library: Library, names: Iterable[str], module_names: Iterable[str]) -> None:
    """Refuse any library but the pinned one.

    Args:
        library: what is installed.
        names: private attributes and methods of the library's node that we replace or read.
        module_names: globals of its module that we replace.

    Raises:
        StartError: it is not the one that the hooks were written against.
    """
    if library.version != VERSION:
        raise _refusal(f"its version is {library.version}")
    for name in sorted(names):
        if name not in library.names:
            raise _refusal(f"it has no {name}")
    for name in sorted(module_names):
        if name not in library.module_names:
            raise _refusal(f"its module has no {name}")
    for module, digest in DIGESTS.items():
        if library.digests.get(module) != digest:
            raise _refusal(f"the source of {module} has been changed")


def _refusal(why: str) -> StartError:
    return StartError(
        f"the Raft library is not the pysyncobj {VERSION} that this node was built for: {why};"
        f" reinstall it with: pip install --force-reinstall pysyncobj=={VERSION}"
    )
