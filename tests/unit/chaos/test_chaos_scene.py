"""Several faults at a time: cuts add up, nodes are in one fault's hands, and all ends with the round."""

import asyncio
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from tests.chaos.faults import clock, network
from tests.chaos.faults.scene import NobodyError, Scene, both_ways
from tests.chaos.networks.api import CLIENTS, Slow

pytestmark = pytest.mark.asyncio


class Network:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.cuts: list[set[tuple[str, str]]] = []
        self.slow: list[dict[str, Slow]] = []

    async def set_cuts(self, cuts: Any) -> None:
        self.cuts.append(set(cuts))

    async def set_slow(self, places: Any) -> None:
        self.slow.append(dict(places))


class Cluster:
    """Three nodes, the first of which leads; or nobody."""

    def __init__(self, leader: str = "n1") -> None:
        self.network = Network()
        self._leader = leader
        self.nodes = {
            id_: SimpleNamespace(id=id_, place=f"place of {id_}", is_meant=True, is_busy=False)
            for id_ in ("n1", "n2", "n3")
        }

    async def leader(self) -> str:
        return self._leader

    def place_of(self, id_: str) -> str:
        return self.nodes[id_].place


def scene_of(cluster: Cluster) -> Scene:
    scene = Scene(cluster, lambda _sentence: None)  # type: ignore[arg-type]
    scene.is_over.set()  # nothing is held
    return scene


async def test_cuts_of_several_faults_add_up() -> None:
    cluster = Cluster()
    scene = scene_of(cluster)
    async with scene.cut([("a", "b")]):
        async with scene.cut([("a", "b"), ("b", "a")]):
            pass
        assert cluster.network.cuts[-1] == {("a", "b")}
    assert cluster.network.cuts == [{("a", "b")}, {("a", "b"), ("b", "a")}, {("a", "b")}, set()]


async def test_a_slow_place_is_quick_again_afterwards() -> None:
    cluster = Cluster()
    async with scene_of(cluster).slow({"a": Slow(delay_ms=5)}):
        pass
    assert cluster.network.slow == [{"a": Slow(delay_ms=5)}, {}]


async def test_a_node_is_in_one_faults_hands_at_a_time() -> None:
    cluster = Cluster()
    scene = scene_of(cluster)
    async with (
        scene.victim(Random(1)) as one,
        scene.victim(Random(1)) as two,
        scene.everybody() as rest,
    ):
        assert {one.id, two.id, *(node.id for node in rest)} == {"n1", "n2", "n3"}
        with pytest.raises(NobodyError):
            async with scene.victim(Random(1)):
                pass
    assert not any(node.is_busy for node in cluster.nodes.values())


async def test_what_is_held_ends_with_the_round() -> None:
    scene = scene_of(Cluster())
    scene.is_over.clear()
    held = asyncio.ensure_future(scene.hold(3_600))
    await asyncio.sleep(0)
    assert not held.done()
    scene.is_over.set()
    await asyncio.wait_for(held, 10)


async def test_both_ways_is_every_direction_between_two_groups() -> None:
    assert set(both_ways(["a"], ["b", "c"])) == {("a", "b"), ("a", "c"), ("b", "a"), ("c", "a")}


async def test_an_isolated_leader_keeps_its_clients() -> None:
    cluster = Cluster()
    await network.isolate_leader(scene_of(cluster), Random(1))
    others = ("place of n2", "place of n3")
    assert cluster.network.cuts == [set(both_ways(["place of n1"], others)), set()]


async def test_nobody_is_isolated_where_nobody_leads() -> None:
    with pytest.raises(NobodyError):
        await network.isolate_leader(scene_of(Cluster("")), Random(1))


async def test_a_bridge_sees_both_halves() -> None:
    cluster = Cluster()
    await network.bridge(scene_of(cluster), Random(1))
    ends = {place for link in cluster.network.cuts[0] for place in link}
    assert len(cluster.network.cuts[0]) == 2
    assert len(ends) == 2


async def test_one_way_leaves_the_other_way() -> None:
    for seed in range(20):
        cluster = Cluster()
        await network.one_way(scene_of(cluster), Random(seed))
        cuts = cluster.network.cuts[0]
        assert cuts
        assert not any((target, source) in cuts for source, target in cuts)


async def test_a_split_leaves_a_majority_and_all_clients() -> None:
    for seed in range(20):
        cluster = Cluster()
        await network.split(scene_of(cluster), Random(seed))
        cuts = cluster.network.cuts[0]
        assert len(cuts) == 4  # one against two, both ways
        assert not any(CLIENTS in link for link in cuts)


async def test_a_clock_is_right_again_afterwards() -> None:
    cluster = Cluster()
    seen: list[int] = []
    for node in cluster.nodes.values():
        node.clock = SimpleNamespace(set=seen.append)
    await clock.clock_jump(scene_of(cluster), Random(2))
    await clock.clock_drift(scene_of(cluster), Random(2))
    assert any(seen)
    assert seen[-1] == 0
    assert seen[1] == 0  # after the jump
