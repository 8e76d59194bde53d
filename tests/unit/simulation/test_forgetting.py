"""What a run leaves behind: nothing, so that the next one of the same process begins as the first did."""

import asyncio

from tests.simulation.clock import ProcessClock
from tests.simulation.process import ProcessLoop
from tests.simulation.simulation import undisturbed
from tests.simulation.world import World


def test_what_processes_have_under_way_ends_with_the_run() -> None:
    complaints: list[str] = []
    ended: list[str] = []

    async def wait_for_ever(name: str) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(name)

    with undisturbed():
        world = World("")
        loops = [ProcessLoop(world, ProcessClock(world), name, complaints.append) for name in "ab"]
        for loop in loops:
            loop.spawn(lambda name=loop.name: wait_for_ever(name))
        world.run_until(1.0)
        assert ended == []
    assert sorted(ended) == ["a", "b"]
    assert [loop.is_alive for loop in loops] == [False, False]
    assert complaints == []
