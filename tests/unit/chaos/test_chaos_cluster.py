"""Nodes and their places, before any process runs."""

import tarfile
from pathlib import Path

import pytest
from tests.chaos.cluster import ChaosCluster
from tests.chaos.networks.api import HTTP, TEXT
from tests.support.node_process import NodeFailedError


class Network:
    """Places by number."""

    def prefix(self, place: str) -> tuple[str, ...]:
        return ()

    def flags(self, place: str) -> tuple[str, ...]:
        return ()

    def peer_address(self, place: str) -> str:
        return f"{place}:1"

    def client_address(self, place: str, door: str) -> tuple[str, int]:
        return place, {HTTP: 2, TEXT: 3}[door]


@pytest.fixture
def blamed() -> list[str]:
    return []


@pytest.fixture
def cluster(tmp_path: Path, blamed: list[str]) -> ChaosCluster:
    places = ["p1", "p2", "p3", "spare"]
    return ChaosCluster(tmp_path, Network(), places, 3, blamed.append, has_disks=False)  # type: ignore[arg-type]


def test_nodes_begin_at_the_first_places(cluster: ChaosCluster) -> None:
    assert {node.id: node.place for node in cluster.nodes.values()} == {
        "p1": "p1", "p2": "p2", "p3": "p3",
    }  # fmt: skip
    assert cluster.text_url() == "raftq://p1:3,p2:3,p3:3"


@pytest.mark.asyncio
async def test_a_node_that_is_gone_leaves_its_place_to_the_next(cluster: ChaosCluster) -> None:
    assert cluster.add().place == "spare"
    assert not cluster.has_room()
    await cluster.forget("p2")
    assert cluster.has_room()
    assert (cluster.add().id, cluster.nodes["m2"].place) == ("m2", "p2")


@pytest.mark.asyncio
async def test_who_still_asks_a_node_that_is_gone_reaches_its_place(cluster: ChaosCluster) -> None:
    await cluster.forget("p2")
    assert cluster.address("p2", HTTP) == "p2:2"


@pytest.mark.asyncio
async def test_nobody_is_taken_for_removed_because_nobody_leads(
    cluster: ChaosCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"leader": "", "term": 3, "members": [{"id": "p1", "role": "follower"}]}

    async def ask(id_: str, *_request: object) -> dict[str, object]:
        return told

    monkeypatch.setattr(cluster, "ask", ask)
    cluster.nodes["p1"].is_meant = True
    assert await cluster.role("p2") is None
    told["leader"] = "p1"
    assert (await cluster.role("p1"), await cluster.role("p2")) == ("follower", "")


def test_each_node_has_a_directory_and_a_clock_of_its_own(cluster: ChaosCluster) -> None:
    directories = {node.disk.data_dir.resolve() for node in cluster.nodes.values()}
    assert len(directories) == 3
    cluster.nodes["p1"].clock.set(5)
    assert [node.clock.offset_ns() for node in cluster.nodes.values()] == [5, 0, 0]


def test_nothing_is_left_of_disks_but_what_is_kept(cluster: ChaosCluster, tmp_path: Path) -> None:
    (cluster.nodes["p1"].disk.data_dir / "file").write_text("x")
    cluster.close(keep=True)
    assert (tmp_path / "p1-data" / "file").read_text() == "x"
    assert not (tmp_path / "p1").exists()


@pytest.mark.asyncio
async def test_the_files_of_a_node_that_is_gone_are_kept_but_not_its_disk(
    cluster: ChaosCluster, tmp_path: Path
) -> None:
    (cluster.nodes["p1"].disk.data_dir / "file").write_text("x")
    await cluster.forget("p1")
    assert not list(tmp_path.glob("*p1"))
    cluster.close(keep=True)
    with tarfile.open(tmp_path / "p1-data.tar.gz") as kept:
        kept.extractall(tmp_path, filter="data")
    assert (tmp_path / "p1-data" / "file").read_text() == "x"


@pytest.mark.asyncio
async def test_a_disk_whose_files_cannot_be_put_away_is_kept_at_the_end(
    cluster: ChaosCluster, tmp_path: Path
) -> None:
    (cluster.nodes["p1"].disk.data_dir / "file").write_text("x")
    (tmp_path / "p1-data.tar.gz").mkdir()
    await cluster.forget("p1")
    cluster.close(keep=True)
    assert (tmp_path / "p1-data" / "file").read_text() == "x"


class _Child:
    """A process that does not become a node."""

    is_running = False

    def __init__(self, code: int | None) -> None:
        self._code = code

    def start(self) -> None:
        error = NodeFailedError("it did not start")
        error.code = self._code
        raise error

    def logs(self) -> str:
        return "raftqd: the log is damaged"


@pytest.mark.asyncio
@pytest.mark.parametrize(("code", "is_blamed"), [(1, True), (None, False)])
async def test_a_node_that_ends_as_it_starts_has_ended_by_itself(
    cluster: ChaosCluster, blamed: list[str], code: int | None, is_blamed: bool
) -> None:
    cluster.nodes["p1"].process = _Child(code)  # type: ignore[assignment]
    with pytest.raises(NodeFailedError):
        await cluster.start("p1")
    told = ["p1 ended by itself with code 1: raftqd: the log is damaged"]
    assert blamed == (told if is_blamed else [])


@pytest.mark.asyncio
async def test_a_node_may_end_as_it_starts_while_its_disk_is_full(
    cluster: ChaosCluster, blamed: list[str]
) -> None:
    cluster.nodes["p1"].process = _Child(1)  # type: ignore[assignment]
    cluster.nodes["p1"].is_full = True
    with pytest.raises(NodeFailedError):
        await cluster.start("p1")
    assert blamed == []
