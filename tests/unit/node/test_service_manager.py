"""What systemd is told."""

import asyncio
import socket

import pytest

from raftq_cluster.systemd import READY, ServiceManager


@pytest.fixture
def listening(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = str(tmp_path / "notify")
        manager.bind(path)
        manager.settimeout(5)
        yield manager, path


def test_a_state_is_one_datagram(listening):
    manager, path = listening
    ServiceManager({"NOTIFY_SOCKET": path}).tell(READY)
    assert manager.recv(100) == b"READY=1"


def test_an_abstract_socket_is_reached_too():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # Linux gives a free abstract name
        name = manager.getsockname()
        ServiceManager({"NOTIFY_SOCKET": "@" + name[1:].decode()}).tell(READY)
        manager.settimeout(5)
        assert manager.recv(100) == b"READY=1"


def test_without_a_manager_nothing_happens():
    ServiceManager({}).tell(READY)


def test_a_manager_that_is_gone_is_no_reason_to_stop(tmp_path):
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell(READY)


@pytest.mark.asyncio
async def test_the_watchdog_is_pinged_until_cancelled(listening):
    manager, path = listening
    service = ServiceManager({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000"})
    pings = asyncio.create_task(service.keep_alive())
    for _ in range(2):
        assert await asyncio.to_thread(manager.recv, 100) == b"WATCHDOG=1"
    pings.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pings


@pytest.mark.asyncio
@pytest.mark.parametrize("period", ["", "0", "soon"])
async def test_without_a_watchdog_nobody_is_pinged(listening, period):
    _, path = listening
    service = ServiceManager({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": period})
    await asyncio.wait_for(service.keep_alive(), 5)
