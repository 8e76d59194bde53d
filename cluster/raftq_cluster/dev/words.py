"""What ``raftqd dev`` says to the user."""

import os
import signal
from collections.abc import Sequence
from typing import Final

from raftq_cluster.dev.places import DevOptions, Place

QUEUE: Final = "emails"
_DEFAULT_TEXT: Final = "127.0.0.1:7979"


def url(places: Sequence[Place]) -> str:
    """Give the URL that names all nodes."""
    return "raftq://" + ",".join(str(place.text) for place in places)


def welcome(options: DevOptions, places: Sequence[Place], pids: Sequence[int]) -> str:
    """Give what there is and what to try next."""
    number = "one node" if len(places) == 1 else f"{len(places)} nodes"
    where = _one(places[0]) if len(places) == 1 else _table(places, pids)
    try_next = _first_steps(places) if len(places) == 1 else _cluster_steps(places, pids)
    return f"""
raftq runs on this machine: {number}, one sample worker, three tasks (one fails on purpose)

{where}
  data        {_data(options, places)}
  durability  {_durability(options, places)}

In another terminal:

{try_next}

Stop with Ctrl-C.
"""


def _one(place: Place) -> str:
    return f"  http        http://{place.http}\n  text        raftq://{place.text}"


def _table(places: Sequence[Place], pids: Sequence[int]) -> str:
    rows = [("node", "process", "http", "text")]
    rows += [
        (place.node_id, str(pid), f"http://{place.http}", f"raftq://{place.text}")
        for place, pid in zip(places, pids, strict=True)
    ]
    return "\n".join("  {:<4}  {:>7}  {:<24} {}".format(*row) for row in rows) + "\n"


def _data(options: DevOptions, places: Sequence[Place]) -> str:
    if options.memory and len(places) == 1:
        return "memory"
    folder = places[0].data_dir if len(places) == 1 else places[0].data_dir.parent
    kept = "" if options.data_dir else "  (deleted at the end; --data-dir DIR keeps it)"
    return f"{folder}{kept}"


def _durability(options: DevOptions, places: Sequence[Place]) -> str:
    if options.memory:
        return "none: tasks are gone when it stops"
    majority = "" if len(places) == 1 else " on a majority"
    return f"fdatasync{majority} before every answer"


def _first_steps(places: Sequence[Place]) -> str:
    flag = "" if str(places[0].text) == _DEFAULT_TEXT else f" --url {url(places)}"
    return "\n".join(f"  {step}{flag}" for step in _steps())


def _cluster_steps(places: Sequence[Place], pids: Sequence[int]) -> str:
    first, pid = places[0].node_id, pids[0]
    kill, back = f"kill -9 {pid}", f"kill -USR1 {os.getpid()}"
    return "\n".join(
        f"  {step}"
        for step in (
            f"export RAFTQ_URL={url(places)}",
            *_steps(),
            "raftq cluster",
            f"{kill:<16}  # {first} dies, the others go on: look again",
            f"{back:<16}  # brings back what has ended",
        )
    )


def _steps() -> tuple[str, ...]:
    return (
        f"""raftq put {QUEUE} '{{"to":"ada@example.org"}}'""",
        f"raftq tasks {QUEUE}/err",
        "raftq top",
    )


def ended(name: str, exit_code: int) -> str:
    """Say that a process ended by itself or was killed by somebody else."""
    if exit_code < 0:
        return f"{name} was ended by {signal.Signals(-exit_code).name}"
    return f"{name} ended with exit code {exit_code}"


def left(alive: int, nodes: int) -> str:
    """Say what that means for the rest, and how to mend it."""
    back = f"kill -USR1 {os.getpid()} brings back what has ended"
    if alive == nodes:
        return f"  {back}"
    if 2 * alive > nodes:
        return f"  {alive} of {nodes} nodes are left, a majority: nothing stops. {back}"
    return (
        f"  {alive} of {nodes} left is no majority: nothing is done until another is back. {back}"
    )
