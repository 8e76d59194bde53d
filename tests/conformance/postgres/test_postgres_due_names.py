"""Names with ``gc=`` as a node over PostgreSQL reads them: all that there are, and in nobody's way."""

import asyncio

import pytest

from raftq_cluster.backends.postgres.due import SLICE, due_of

pytestmark = pytest.mark.asyncio
NOW_MS = 1_700_000_000_000


async def test_names_are_due_from_their_time_on_unless_they_are_kept() -> None:
    names = ["/a/gc=0", "/b/gc=1700000000", "/c/gc=1700000001", "/d/gc=soon", "/e/gc=", "/f\\/gc=0"]
    found = await due_of(names, NOW_MS, lambda name: name == "/e/gc=")
    assert found == (["/a/gc=0", "/b/gc=1700000000"], 1)


async def test_others_have_their_turn_while_very_many_names_are_read() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(count_turns())
    names = [f"/sess={number};gc=0" for number in range(5 * SLICE)]
    assert await due_of(names, NOW_MS, lambda _: False) == (names, 0)
    assert turns >= 4
    others.cancel()
