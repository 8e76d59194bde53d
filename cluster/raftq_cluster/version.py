"""The version of this node, as it is installed."""

from importlib.metadata import version
from typing import Final

VERSION: Final = version("raftq")
