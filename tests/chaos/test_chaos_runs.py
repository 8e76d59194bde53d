"""The bounded part of chaos, for CI: short runs of real nodes that are clean, and planted bugs that are not.

``scripts/chaos`` runs longer ones; ``docs/guarantees.md`` says how many have been run.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.chaos import disks
from tests.chaos.networks import namespaces
from tests.support.node_process import REPOSITORY, child_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CLEAN = "broken promises: 0"


def chaos(*flags: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tests.chaos", *flags],
        env=environment(), cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip


def environment() -> dict[str, str]:
    env = child_environment()
    env["PYTHONPATH"] += os.pathsep + str(REPOSITORY / "scripts")
    return env


@pytest.fixture(scope="module")
def why_no_namespaces() -> str:
    return asyncio.run(namespaces.can_be_made())


@pytest.mark.parametrize(
    ("nodes", "faults"),
    [
        ("3", "isolate_leader,pause,kill,replace,clock_jump,disk_full,one_way"),
        ("5", "split,half_open,kill_minority,bridge,transfer,restart_all,flapping"),
    ],
)
def test_nodes_under_faults_break_no_promise(
    nodes: str, faults: str, why_no_namespaces: str, tmp_path: Path
) -> None:
    ran = chaos("--nodes", nodes, "--minutes", "0.25", "--seed", "4", "--faults", faults,
                "--out", str(tmp_path / "out"))  # fmt: skip
    assert CLEAN in ran.stdout, ran.stdout + ran.stderr
    assert ran.returncode == 0
    network = "user-space proxies" if why_no_namespaces else "network namespaces"
    assert f"{nodes} nodes in {network}, seed 4: 1 rounds" in ran.stdout
    assert not (tmp_path / "out").exists()  # a good run leaves nothing


def test_proxies_serve_where_namespaces_cannot_be_made(tmp_path: Path) -> None:
    ran = chaos("--proxies", "--minutes", "0.15", "--seed", "2", "--faults",
                "isolate_leader,one_way,slow,half_open", "--out", str(tmp_path / "out"))  # fmt: skip
    assert CLEAN in ran.stdout, ran.stdout + ran.stderr
    assert "3 nodes in user-space proxies" in ran.stdout


@pytest.mark.parametrize(
    ("bug", "faults", "minutes", "sentence"),
    [
        ("pass_over_keys", "none", "0.1", "BROKEN: done twice"),
        ("expire_early", "none", "0.1", "BROKEN: two holders"),
        # These are over at the first breach: the odd node stops itself.
        ("expire_by_the_wall_clock", "none", "0.5", " differs from that of "),
        ("commit_alone", "isolate_leader", "0.5", "BROKEN: "),
    ],
)
def test_a_planted_bug_is_caught(
    bug: str, faults: str, minutes: str, sentence: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ran = chaos("--plant", bug, "--faults", faults, "--minutes", minutes, "--seed", "1",
                "--out", str(out))  # fmt: skip
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert sentence in ran.stdout
    command = (
        f"scripts/chaos --seed 1 --nodes 3 --minutes {minutes} --faults {faults} --plant {bug}"
    )
    assert f"repeat it: {command}\n" in ran.stdout
    assert {path.name for path in out.iterdir()} >= {
        "history-1.jsonl", "n1.log", "n2.log", "n3.log", "n1-data", "n2-data", "n3-data",
    }  # fmt: skip


def test_a_run_that_is_ended_leaves_no_node_network_or_disk_behind(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tests.chaos", "--faults", "none", "--out", str(out)]
    with subprocess.Popen(
        command, env=environment(), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        while "round 1" not in (line := run.stdout.readline()):
            assert line, "it ended by itself"
        run.send_signal(signal.SIGTERM)
        said = run.stdout.read()
    assert "interrupted" in said
    assert "BROKEN" not in said
    assert not list(namespaces.NAMED.glob(f"rq{run.pid}-*"))
    assert str(out) not in Path("/proc/mounts").read_text()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert str(out) not in path.read_text(errors="replace").replace(str(out) + "\0", "")
        except OSError:
            continue  # it has just ended


def test_disks_of_a_run_that_was_killed_are_removed_by_the_next(tmp_path: Path) -> None:
    if not disks.can_be_mounted(tmp_path):
        return  # that it can be where it should is the test below
    leave = (
        "import os, signal, sys; from pathlib import Path; from tests.chaos.disks import Disk;"
        " folder = Path(sys.argv[1]);"
        " Disk(folder / 'a disk', folder / 'data', is_mounted=True).open();"
        " os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", leave, tmp_path], env=environment(), check=False)
    assert os.path.ismount(tmp_path / "a disk")
    disks.remove_left()
    assert not os.path.ismount(tmp_path / "a disk")


def test_a_full_disk_has_room_again_once_it_is_drained(tmp_path: Path) -> None:
    is_mounted = disks.can_be_mounted(tmp_path)
    assert is_mounted or os.geteuid() != 0 or why_not_mounted(tmp_path)
    if not is_mounted:
        return
    disk = disks.Disk(tmp_path / "mount", tmp_path / "data", is_mounted=True)
    disk.open()
    try:
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.data_dir / "file").write_bytes(bytes(1 << 20))
        disk.drain()
        (disk.data_dir / "file").write_bytes(bytes(1 << 20))
        disk.keep()
    finally:
        disk.close()
    assert (tmp_path / "data-data" / "file").stat().st_size == 1 << 20
    assert not (tmp_path / "mount").exists()


def test_a_disk_is_unmounted_when_its_files_are_put_away(tmp_path: Path) -> None:
    if not disks.can_be_mounted(tmp_path):
        return
    disk = disks.Disk(tmp_path / "mount", tmp_path / "data", is_mounted=True)
    disk.open()
    disk.fill(left_bytes=1 << 20)
    (disk.data_dir / "file").write_bytes(bytes(1 << 16))
    disk.put_away()
    assert str(tmp_path / "mount") not in Path("/proc/mounts").read_text()
    with tarfile.open(tmp_path / "data-data.tar.gz") as kept:
        assert kept.getmember("data-data/file").size == 1 << 16
        assert len(kept.getmembers()) == 2  # without the ballast


def why_not_mounted(folder: Path) -> str:
    """What mount says where it does not."""
    return subprocess.run(
        ["mount", "-t", "tmpfs", "trial", str(folder)], check=False, capture_output=True, text=True
    ).stderr
