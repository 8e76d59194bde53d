"""Histories as JSON lines, for whoever looks into a failed run."""

import json
from pathlib import Path
from typing import Any

from tests.simulation.history import Call, History


def write(history: History, path: Path) -> None:
    """One line for each call, in the order in which they began; then what was left, and the small histories."""
    with path.open("w", encoding="utf-8") as file:
        for call in history.calls:
            file.write(json.dumps(_line(call), default=_plain) + "\n")
        for row in history.left.values():
            file.write(json.dumps({"left": row}, default=_plain) + "\n")
        for kind, records in (("register", history.registers), ("small", history.small_queues)):
            for name, steps in records.items():
                file.write(json.dumps({kind: name, "steps": steps}, default=_plain) + "\n")


def _line(call: Call) -> dict[str, Any]:
    deletes = call.operation[6] if call.kind == "modify" and call.operation else ()
    return {
        "client": call.client, "kind": call.kind, "began_ns": call.began_ns, "ended_ns": call.ended_ns,
        "status": call.status, "index": call.index, "node": call.node, "attempts": call.attempts,
        "tags": call.tags, "deletes": deletes, "outcome": call.outcome, "repeats": call.repeats,
    }  # fmt: skip


def _plain(value: Any) -> Any:
    return value.decode(errors="replace")[:40] if isinstance(value, bytes) else repr(value)
