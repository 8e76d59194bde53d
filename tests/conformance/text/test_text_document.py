"""What ``docs/text-protocol.md`` shows is what the node says."""

import re
from itertools import count
from pathlib import Path

import pytest
from tests.support.text_exchanges import steps
from tests.support.text_node import serving

from raftq_cluster.servers.text import batch, limits, parser
from raftq_cluster.service.limits import Limits
from raftq_cluster.service.names import QUEUE_BYTES_MAX
from raftq_cluster.service.verbs import VERBS

DOCUMENT = (Path(__file__).parents[3] / "docs" / "text-protocol.md").read_text("utf-8")
EXCHANGES = re.findall(r"^```\n(C> .*?)^```$", DOCUMENT, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.asyncio
async def test_every_exchange_that_is_shown_happens_so() -> None:
    numbers = count(1)
    async with serving(ids=lambda: f"task{next(numbers)}") as node:
        for exchange in EXCHANGES:
            async with node.peer() as peer:
                for step in steps(exchange, line_ends=True):
                    assert await peer.ask(step.sent, len(step.answered)) == step.answered


def test_no_exchange_is_left_out() -> None:
    assert len(EXCHANGES) == DOCUMENT.count("```\nC> ") == DOCUMENT.count("```") // 2
    assert sum(exchange.count("\nS> ") for exchange in EXCHANGES) == DOCUMENT.count("\nS> ")


def test_every_verb_is_described() -> None:
    verbs = {verb.decode() for verb in batch.HANDLERS} - {
        parser.BROKEN.decode(), parser.TOO_LARGE.decode(),
    }  # fmt: skip
    assert all(f"| `RID {verb}" in DOCUMENT for verb in verbs)
    assert all(f"`{verb}`" in DOCUMENT for verb in VERBS)


@pytest.mark.parametrize(
    "shown",
    [
        f"{parser.LINE_BYTES_MAX // 1024} KiB",
        f"`body_bytes_max`, {Limits().body_bytes_max // 2**20} MiB",
        f"{parser.SKIPPED_BYTES_MAX // 2**20} MiB",
        f"`value_bytes_max`, {Limits().value_bytes_max // 2**20} MiB",
        f"{QUEUE_BYTES_MAX} bytes",
        f"{limits.IN_FLIGHT_MAX:,}, or {limits.IN_FLIGHT_BYTES_MAX // 2**20} MiB of them",
        f"{limits.QUERIES_AT_ONCE} at a time",
        f"{limits.WRITE_HIGH_BYTES // 1024} KiB, and no more for {limits.Patience().unread_s:.0f} s",
    ],
)
def test_a_limit_that_is_shown_is_the_limit(shown: str) -> None:
    assert f"| {shown} |" in DOCUMENT or f"the node's {shown} |" in DOCUMENT
