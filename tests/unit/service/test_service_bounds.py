"""The service's own limits: bytes held, stopping, and who is told what in which order."""

import asyncio
from collections.abc import Sequence

import pytest
from tests.support.held_backend import HeldBackend
from tests.support.task_table import claim, modify

from raftq_cluster.backends.api import Load
from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Claimed, Modified, Outcome, Refused, Unfinished
from raftq_cluster.service.facade import TASK_BYTES, Service
from raftq_cluster.service.limits import Limits

pytestmark = pytest.mark.asyncio


def insert(id_: str, value: bytes = b"12345") -> op.Modify:
    return modify(inserts=[op.Insert("/a", id_, value=value)])


def delete(id_: str, version: int = 0) -> op.Modify:
    return modify(deletes=[op.Target(id_, version)])


async def full() -> Service:
    """Hold as many bytes as allowed: two tasks with values of five bytes."""
    service = Service(HeldBackend(), Limits(bytes_held_max=2 * (TASK_BYTES + 5)))
    await service.start()
    await service.run([insert("x1"), insert("x2")])
    return service


async def test_a_full_node_refuses_inserts_and_names_the_limit():
    service = await full()
    _, (outcome,) = await service.run([insert("x3", b"")])
    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.limit_name, outcome.limit) == (
        "store_full",
        "bytes_held_max",
        810,
    )
    assert service.load().tasks == 2


async def test_a_full_node_still_claims_and_deletes_and_then_takes_inserts_again():
    service = await full()
    _, (claimed,) = await service.run([claim("/a")])
    (row,) = claimed.tasks
    _, (deleted, inserted) = await service.run([delete(row.id, 1), insert("x3")])
    assert isinstance(deleted, Modified)
    assert isinstance(inserted, Refused)  # it was full when the two came
    _, (inserted,) = await service.run([insert("x3")])
    assert isinstance(inserted, Modified)


class NearlyFullDisk(HeldBackend):
    def load(self) -> Load:
        return super().load()._replace(disk_free_bytes=99)


async def test_a_nearly_full_disk_refuses_inserts_and_lets_tasks_be_claimed():
    service = Service(NearlyFullDisk(), Limits(disk_free_bytes_min=100))
    _, (inserted, claimed) = await service.run([insert("x"), claim("/a")])
    assert isinstance(inserted, Refused)
    assert (inserted.code, inserted.limit_name) == ("store_full", "disk_free_bytes_min")
    assert claimed == Claimed(())
    roomy = Service(NearlyFullDisk(), Limits(disk_free_bytes_min=99))
    _, (inserted,) = await roomy.run([insert("x")])
    assert isinstance(inserted, Modified)


async def test_outcomes_keep_the_order_of_their_operations_when_some_are_refused():
    service = await full()
    _, outcomes = await service.run(
        [insert("x3"), claim("/a"), insert("x4"), delete("none"), op.Tick(), insert("x5")]
    )
    codes = [getattr(outcome, "code", type(outcome).__name__) for outcome in outcomes]
    assert codes == ["store_full", "Claimed", "store_full", "dependency", "Done", "store_full"]


async def test_a_full_node_that_is_asked_for_inserts_alone_asks_its_backend_for_nothing():
    backend = HeldBackend()
    service = Service(backend, Limits(bytes_held_max=0))
    index, (outcome,) = await service.run([insert("x")])
    assert isinstance(outcome, Refused)
    assert (index, backend.submitted) == (0, [])


async def test_a_modification_that_inserts_and_deletes_is_refused_whole_by_a_full_node():
    service = await full()
    both = modify(inserts=[op.Insert("/a", "x3")], deletes=[op.Target("x1", 0)])
    _, (outcome,) = await service.run([both])
    assert isinstance(outcome, Refused)
    assert service.load().tasks == 2


async def test_starting_and_stopping_starts_and_stops_the_backend():
    backend = HeldBackend()
    service = Service(backend)
    await service.start()
    assert backend.is_started
    await service.stop()
    await service.stop()
    assert not backend.is_started


async def test_a_stopping_node_says_that_nothing_was_done():
    backend = HeldBackend()
    service = Service(backend)
    service.drain()
    service.drain()
    _, outcomes = await service.run([insert("x"), claim("/a")])
    assert [(type(outcome), outcome.code) for outcome in outcomes] == [
        (Unfinished, "unavailable")
    ] * 2
    assert backend.submitted == []


async def test_what_was_submitted_before_a_drain_is_answered():
    backend = HeldBackend()
    service = Service(backend)
    backend.hold_everything = True
    told: list[Outcome] = []
    service.submit([insert("x")], lambda _, outcomes: told.extend(outcomes))
    service.drain()
    backend.hold_everything = False
    backend.apply()
    assert [type(outcome) for outcome in told] == [Modified]


async def test_a_cancelled_caller_is_told_nothing_and_disturbs_nobody():
    backend = HeldBackend()
    service = Service(backend)
    backend.hold_outcomes = True
    gone = asyncio.ensure_future(service.run([insert("x")]))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    backend.hold_outcomes = False
    backend.tell()
    _, (claimed,) = await service.run([claim("/a")])
    assert isinstance(claimed, Claimed)
    assert len(claimed.tasks) == 1


async def test_ids_are_made_by_whoever_was_given_to_make_them():
    assert Service(HeldBackend(), ids=lambda: "mine").new_id() == "mine"
    default = Service(HeldBackend())
    assert default.new_id() != default.new_id()


async def test_status_and_load_are_the_backends():
    service = await full()
    assert service.status().node == "n1"
    assert service.load().value_bytes == 10


def sink(_index: int, _outcomes: Sequence[Outcome]) -> None:
    """Nobody asks."""


async def test_the_cluster_shows_where_this_nodes_servers_listen():
    service = Service(HeldBackend())
    service.advertise("127.0.0.1:1", "127.0.0.1:2")
    (member,) = service.cluster().members
    assert (member.id, member.http, member.text) == ("n1", "127.0.0.1:1", "127.0.0.1:2")
    assert service.status().members[0].http == ""


async def test_a_queue_named_twice_is_waited_for_once():
    service = Service(HeldBackend())
    await service.start()
    give_up = service.claim(claim("/a", "/a"), 300_000, sink)
    assert service.waiting() == 1
    give_up()
    assert service.waiting() == 0
    await service.stop()
