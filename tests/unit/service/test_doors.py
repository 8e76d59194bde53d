"""Doors: who comes in by which token, and what becomes of those whose token has changed."""

from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.tokens import Tokens, secret_of

from raftq_cluster.backends.api import TransferLeadership
from raftq_cluster.backends.memory import MemoryBackend
from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.outcomes import Claimed, Refused
from raftq_cluster.service import taskq
from raftq_cluster.service.doors import Doors
from raftq_cluster.service.facade import Service
from raftq_cluster.service.refusals import Refusal

pytestmark = pytest.mark.asyncio


def claim(*queues: str) -> op.Claim:
    return op.Claim(op.CLAIM, "", b"", "me", queues, 1_000, 1, serial=False)


class Room:
    """Doors with tokens, and what was told to who waits."""

    def __init__(self, folder: Path, **rights: list[str]) -> None:
        self.tokens = Tokens(folder, **rights)
        self.service = Service(MemoryBackend(seed=1))
        self.doors = Doors(self.service, self.tokens.store)
        self.told: list[Any] = []

    def enter(self, name: str) -> Any:
        return self.doors.admit(secret_of(name))

    def wait(self, name: str, *queues: str) -> Any:
        entrance = self.enter(name).entrance
        return entrance.claim(
            claim(*queues), 60_000, lambda _, outcomes: self.told.extend(outcomes)
        )


@pytest_asyncio.fixture
async def room(tmp_path: Path) -> Any:
    made = Room(tmp_path, a=["claim,insert:*"], b=["claim:/b"])
    await made.service.start()
    yield made
    await made.service.stop()


async def test_without_tokens_everybody_is_let_in_by_the_service_itself() -> None:
    service = Service(MemoryBackend(seed=1))
    doors = Doors(service)
    assert doors.are_open
    assert doors.unnamed is service
    assert doors.admit("whatever").entrance is service


@pytest.mark.parametrize("secret", ["", "rq_c", "x" * 1_000])
async def test_an_unknown_secret_opens_nothing_and_is_counted(room: Room, secret: str) -> None:
    with pytest.raises(Refusal) as refused:
        room.doors.admit(secret)
    assert refused.value.code == "unauthenticated"
    assert room.doors.refused == 1


async def test_a_stranger_gets_nothing_done(room: Room) -> None:
    unnamed = room.doors.unnamed
    told: list[Any] = []
    unnamed.submit([claim("q"), claim("q")], lambda _, outcomes: told.extend(outcomes))
    unnamed.claim(claim("q"), 1_000, lambda _, outcomes: told.extend(outcomes))()
    told += (await unnamed.run([claim("q")]))[1]
    told.append((await unnamed.wait_claim(claim("q"), 1_000))[1])
    assert [outcome.code for outcome in told] == ["unauthenticated"] * 5
    for asked in (
        lambda: unnamed.read(queries.Time()),
        lambda: unnamed.change_members(TransferLeadership("")),
    ):
        with pytest.raises(Refusal, match="wants a token"):
            await asked()
    with pytest.raises(Refusal, match="wants a token"):
        unnamed.cluster()
    assert room.service.waiting() == 0


async def test_a_pass_is_good_until_the_tokens_change(room: Room) -> None:
    held = room.enter("a")
    assert room.doors.renew(held) is held
    room.tokens.write(a=["claim:/a"])
    renewed = room.doors.renew(held)
    assert renewed is not None
    assert renewed.generation == room.doors.generation != held.generation
    assert renewed.entrance.principal.grants == (("/a", 4),)
    room.tokens.write(b=["claim:/b"])
    assert room.doors.renew(renewed) is None


async def test_waits_end_with_the_right_to_them_and_no_others(room: Room) -> None:
    room.wait("a", "/a")
    room.wait("b", "/b")
    room.tokens.write(a=["claim:/other"], b=["claim:/b"])
    assert room.told == [Refused("forbidden", "this needs the right claim on queue /a")]
    assert room.service.waiting() == 1
    room.tokens.write(a=["claim:*"])
    assert room.told[1].code == "unauthenticated"
    assert room.service.waiting() == 0


async def test_a_wait_that_was_answered_or_left_is_not_ended_again(room: Room) -> None:
    room.wait("a", "/a")
    leave = room.wait("a", "/b")
    leave()
    await room.service.run([taskq.enq(room.service, "/a", b"x")])
    assert [type(outcome) for outcome in room.told] == [Claimed]
    room.tokens.write(b=["claim:/b"])
    assert len(room.told) == 1
