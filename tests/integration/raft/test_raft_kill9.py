"""A Raft backend in a process of its own, killed at random moments, on a real disk."""

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raftq_cluster.backends.raft.backend import RaftBackend
from raftq_cluster.core.queries import Digest, Tasks

REPOSITORY = Path(__file__).resolve().parents[3]
LIFE_S = 0.4  # at most; the kill comes at a random moment
IDS_A_LIFE = 1_000_000


class Told:
    """What the children have said, over all their lives."""

    def __init__(self):
        self.put = set()
        self.dropping = set()
        self.drop = set()

    def read(self, data):
        *lines, _torn = data.decode().split("\n")
        for line in lines:
            verb, _, id_ = line.partition(" ")
            if verb != "ready":
                getattr(self, verb).add(id_)


def live_and_die(directory, life, rng):
    """One life of the node; gives all that it said."""
    command = [sys.executable, "-m", "tests.support.raft_child", directory, str(life * IDS_A_LIFE)]
    paths = (REPOSITORY / "client", REPOSITORY / "cluster", REPOSITORY)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        said = os.read(child.stdout.fileno(), 65_536)
        end_s = time.monotonic() + rng.random() * LIFE_S
        while time.monotonic() < end_s and said:
            said += os.read(child.stdout.fileno(), 65_536)
        child.kill()
        said += child.stdout.read()
        assert child.wait() == -9, "the node ended by itself"
    assert said.startswith(b"ready\n")
    return said


async def state(directory):
    """Ids and digest of what a node finds in the directory."""
    backend = RaftBackend(directory, on_fatal=pytest.fail)
    await backend.start()
    rows = (await backend.read(Tasks("/q", "", (), 10_000_000, True))).value
    digest = (await backend.read(Digest())).value
    await backend.stop()
    return {row.id for row in rows}, digest


def check(told, ids):
    assert told.put - told.dropping <= ids, "acknowledged and lost"
    assert not told.drop & ids, "ended and returned"


@pytest.mark.parametrize(
    "lives", [2, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]
)
def test_nothing_acknowledged_is_lost_and_nothing_ended_returns(tmp_path, lives):
    rng, told, directory = random.Random(lives), Told(), tmp_path / "data"
    for life in range(lives):
        told.read(live_and_die(directory, life, rng))
    ids, digest = asyncio.run(state(directory))
    check(told, ids)
    assert len(told.drop) > 10
    assert asyncio.run(state(directory)) == (ids, digest)
