"""Same log, same state: on every Python, under every hash seed, through any snapshot."""

import json
import os
import subprocess
from pathlib import Path
from typing import Final

import msgpack
import pytest
from tests.support.golden import LOG, LOG_DIGESTS, LOG_ENTRIES, golden_log, read_log, write_log
from tests.support.interpreters import interpreters
from tests.support.replay_golden_log import digests

from raftq_cluster.codec.entries import decode_entry
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.restoring import restore

ROOT: Final = Path(__file__).resolve().parents[3]
PACKAGES: Final = Path(msgpack.__file__).parents[1]
DIGESTS: Final[dict[str, str]] = json.loads(LOG_DIGESTS.read_text(encoding="utf-8"))
ENTRIES: Final = list(read_log(LOG.read_bytes()))
REPLAY_S: Final = 60.0


def replay(python: Path, hash_seed: str, **variables: str) -> dict[str, str]:
    """Replay the log in a process of its own."""
    roots = [ROOT, ROOT / "client", ROOT / "cluster", PACKAGES]
    found: dict[str, str] = json.loads(
        subprocess.run(
            [python, "-m", "tests.support.replay_golden_log"],
            env=os.environ
            | {
                "PYTHONHASHSEED": hash_seed,
                "PYTHONPATH": os.pathsep.join(map(str, roots)),
                "PYTHONDONTWRITEBYTECODE": "1",
            }
            | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=REPLAY_S,
        ).stdout
    )
    return found


def test_the_golden_log_gives_its_golden_digests() -> None:
    assert digests(Machine(), ENTRIES) == DIGESTS
    assert len(ENTRIES) == LOG_ENTRIES


@pytest.mark.parametrize("hash_seed", ["0", "1", "random"])
def test_the_hash_seed_decides_nothing(hash_seed: str) -> None:
    assert replay(interpreters()[0].path, hash_seed) == DIGESTS


@pytest.mark.parametrize("python", interpreters(), ids=lambda python: python.label)
def test_the_version_of_python_decides_nothing(python: object) -> None:
    assert replay(python.path, "random") == DIGESTS


def test_how_messagepack_is_read_decides_nothing() -> None:
    """Other Pythons than the installed one read with the pure-Python reader; so does this one here."""
    assert replay(interpreters()[0].path, "0", MSGPACK_PUREPYTHON="1") == DIGESTS


@pytest.mark.parametrize("index", [1, 250, 999, 1_777, LOG_ENTRIES])
def test_a_snapshot_and_the_tail_of_the_log_give_the_same_state_as_the_whole_log(
    index: int,
) -> None:
    machine = Machine()
    digests(machine, ENTRIES[:index])
    found = digests(restore(machine.snapshot()), ENTRIES)
    assert found == {at: digest for at, digest in DIGESTS.items() if int(at) > index}


def test_the_golden_log_has_some_of_everything() -> None:
    kinds = {
        operation[0]
        for data in ENTRIES
        for segment in decode_entry(data).segments
        for operation in segment
    }
    assert kinds == {1, 2, 3, 4, 5, 6, 7}


def test_the_golden_log_is_read_as_it_is_written() -> None:
    assert list(read_log(write_log(ENTRIES[:10]))) == ENTRIES[:10]


@pytest.mark.slow
def test_the_generator_of_the_golden_log_makes_it_again() -> None:
    assert golden_log() == (ENTRIES, DIGESTS)
