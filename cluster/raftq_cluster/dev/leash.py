"""``python -m raftq_cluster.dev.leash PARENT COMMAND…``: become COMMAND, and die with the parent.

What ``raftqd dev`` starts must not outlive it, even if it is killed with ``kill -9`` and can stop nobody.
The kernel sees to that, once a process has asked; the wish survives ``execve``. Source: prctl(2),
PR_SET_PDEATHSIG. The signal is SIGKILL, because a process that is frozen minds no other.

A step of its own, not a function between fork and exec: nothing of Python is safe there.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def leashed(command: Sequence[str]) -> list[str]:
    """Give the command line that runs ``command`` as long as this process lives.

    The main thread must start it: the kernel watches the thread that forks.
    """
    return [sys.executable, "-m", "raftq_cluster.dev.leash", str(os.getpid()), *command]


def main(arguments: Sequence[str]) -> None:
    """Become the command. Ends the process instead if the parent has died before the wish was made."""
    parent, *command = arguments
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL):
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() == int(parent):
        os.execv(command[0], command)  # noqa: S606 - the command is our own parent's


if __name__ == "__main__":
    main(sys.argv[1:])
