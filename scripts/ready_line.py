"""A child ``raftqd`` until it serves: its environment, and its first line.

One home for what the demo, the benchmarks and the tests need to know of that. Standard library alone.
"""

import os
import selectors
import shlex
import subprocess
import time
from typing import Final

READY: Final = "raftq ready "
START_S: Final = 30.0  # a loaded machine with two cores takes a tenth of it


def without_settings() -> dict[str, str]:
    """This environment without ``RAFTQ_…``: a node or a worker of ours must not follow the user's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAFTQ_")}


def first_line(process: "subprocess.Popen[bytes]", patience_s: float = START_S) -> str:
    """Read the first line of a child's stdout; what there is of it if the child ends or takes too long."""
    pipe = process.stdout
    assert pipe is not None
    deadline = time.monotonic() + patience_s
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                break
            piece = os.read(pipe.fileno(), 4096)
            if not piece:
                break
            line += piece
    return line.decode()


def facts_of(line: str) -> dict[str, str]:
    """Read ``raftq ready node=n1 http=… text=… …``; {} if it is no such line."""
    if not (line.startswith(READY) and line.endswith("\n")):
        return {}
    return dict(word.split("=", 1) for word in shlex.split(line)[2:])
