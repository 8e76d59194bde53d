"""What a node is and does at a moment, as far as faults may meet it there."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.simulation.node import SimNode


def _is_learner(node: "SimNode") -> bool:
    return any(member.id == node.name and not member.voter for member in node.engine.members)


def _role(role: str) -> "Callable[[SimNode], bool]":
    return lambda node: not _is_learner(node) and bool(node.engine.core.role == role)


def _is_snapshotting(node: "SimNode") -> bool:
    return node.running._upkeep._task is not None


def _is_sending(node: "SimNode") -> bool:
    return bool(node.running._sender._streams)


def _is_installing(node: "SimNode") -> bool:
    return node.running._receiver._partial is not None


def _is_changing(node: "SimNode") -> bool:
    return bool(node.engine.config_index > node.engine.core.commit_index)


# Of a node whose engine runs. The leader sends, transfers and changes; whoever follows installs and forwards.
_RUNNING: Final[dict[str, Callable[[Any], bool]]] = {
    "leader": _role("leader"),
    "follower": _role("follower"),
    "candidate": _role("candidate"),
    "learner": _is_learner,
    "syncing": lambda node: node.engine._is_syncing,
    "snapshotting": _is_snapshotting,
    "sending": _is_sending,
    "installing": _is_installing,
    "transferring": lambda node: node.engine.is_transferring,
    "changing": _is_changing,
    "forwarding": lambda node: not node.engine._forwarding.is_idle,
}
# Of a node whatever it does.
_ANY: Final[dict[str, Callable[[Any], bool]]] = {
    "down": lambda node: not node.is_alive,
    "starting": lambda node: node.is_alive and not node.is_serving,
    "draining": lambda node: node.is_alive and node.is_draining,
    "leaving": lambda node: node.is_leaving,
}
STATES: Final = (*_ANY, *_RUNNING)

# Faults that cannot meet a node in a state: there is no process to be hit, or none that listens yet or still; and a member
# can be spared for good only while the list of members is settled.
IMPOSSIBLE: Final = frozenset(
    {
        (fault, "down")
        for fault in ("kill", "restart", "pause", "compact", "put_back", "(an aimed cut hits)")
    }
    | {(fault, "starting") for fault in ("restart", "compact", "put_back")}
    | {("restart", "draining")}
    | {(fault, "changing") for fault in ("flip", "spoil", "wipe")}
)


def is_in(node: "SimNode", state: str) -> bool:
    """Whether a node is in a state."""
    if state in _ANY:
        return _ANY[state](node)
    return node.engine is not None and _RUNNING[state](node)


def states_of(node: "SimNode") -> list[str]:
    """All that a node is and does at the moment."""
    return [state for state in STATES if is_in(node, state)]
