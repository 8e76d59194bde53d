"""Records packed for digests, each once: the nodes of a cluster have the same ones, and most stay as they are.

What it gives is what ``raftq_cluster.core.digest.packed`` gives, byte for byte.
"""

from typing import Any

from raftq_cluster.core.digest import packed


class Packing:
    """``pack`` stands in for ``packed`` in one simulation. Records that are equal are packed alike."""

    def __init__(self) -> None:
        self._known: dict[Any, bytes] = {}

    def pack(self, value: Any) -> bytes:
        if not isinstance(value, tuple):
            return packed(value)
        try:
            found = self._known.get(value)
        except TypeError:  # there is a list in it
            return packed(value)
        if found is None:
            found = self._known[value] = b"(%b)" % b"".join(map(self.pack, value))
        return found
