"""A fixture for pytest: ``pytest_plugins = ["raftq.testing.pytest_plugin"]`` in a ``conftest.py``."""

import pytest

from raftq.testing.clock import ManualClock
from raftq.testing.memory import MemoryQueue


@pytest.fixture
def raftq_queue() -> MemoryQueue[ManualClock]:
    """A cluster in memory, empty, whose time stands still until ``raftq_queue.clock`` is moved."""
    return MemoryQueue(clock=ManualClock())
