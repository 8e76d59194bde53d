"""Rules of the kernel's networks, without a kernel: what was asked for last is what holds."""

import asyncio
from typing import Any

import pytest
from tests.chaos.networks import namespaces
from tests.chaos.networks.api import Slow
from tests.chaos.networks.namespaces import Namespaces

pytestmark = pytest.mark.asyncio


class Kernel:
    """What ``nft`` has put where. The first call of a tool takes until ``go``, all others no time."""

    def __init__(self) -> None:
        self.rules: dict[str, str] = {}
        self.go = asyncio.Event()
        self._calls = 0

    async def run(self, *command: str, text: str = "") -> None:
        self._calls += 1
        if self._calls == 1:
            await self.go.wait()
        if "nft" in command:
            self.rules[command[1].rpartition("-")[2]] = text


@pytest.fixture
def kernel(monkeypatch: Any) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(namespaces, "_run", kernel.run)
    return kernel


async def both(kernel: Kernel, first: Any, second: Any) -> None:
    """Ask for one thing, and for another while the first is being done."""
    async with asyncio.TaskGroup() as group:
        for asked in (first, second):
            group.create_task(asked)
            for _ in range(10):
                await asyncio.sleep(0)
        kernel.go.set()


async def test_a_tool_that_ends_late_does_not_bring_back_a_cut_that_is_over(kernel: Kernel) -> None:
    network = Namespaces(["n1", "n2"])
    await both(kernel, network.set_cuts([("n1", "n2")]), network.set_cuts([]))
    assert "drop" not in kernel.rules["n2"]


async def test_losses_do_not_bring_back_a_cut_that_is_over(kernel: Kernel) -> None:
    network = Namespaces(["n1", "n2"])
    lossy = network.set_slow({"n2": Slow(loss_percent=2)})
    await both(kernel, network.set_cuts([("n1", "n2")]), lossy)
    assert "10.77.0.11" in kernel.rules["n2"]
    assert "< 2 drop" in kernel.rules["n2"]
    await network.set_cuts([])
    assert "10.77.0.11" not in kernel.rules["n2"]
