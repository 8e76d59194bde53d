"""``raftq export`` and ``raftq import`` against real nodes: from a cluster under load to PostgreSQL and back, and what goes wrong."""

import asyncio
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cluster_process import ClusterProcess, until
from tests.support.node_process import NodeProcess, child_environment, run_raftq
from tests.support.postgres_server import fresh_schema, shared_server
from tests.support.secured_node import SecuredNode
from tests.support.steady_load import SteadyLoad

import raftq

TASKS = 3_000


def moved(*arguments: str, url: str, cwd: Path, code: int = 0) -> dict:
    """Run a verb; give the document that it prints."""
    ran = run_raftq(*arguments, "--url", url, cwd=cwd)
    assert ran.returncode == code, ran.stderr
    assert "Traceback" not in ran.stderr
    return json.loads(ran.stdout) if ran.stdout else {"said": ran.stderr}


def fill(url: str, tasks: int = TASKS) -> None:
    with raftq.Client(url, claimant="filler") as client:
        client.configure("/fifo", order="fifo")
        for start in range(0, tasks, 500):
            inserts = [raftq.Insert("/fifo", number) for number in range(start, start + 500)]
            client.modify(inserts=inserts)
        client.modify(doc_inserts=[raftq.DocInsert("/ns", "config", b"x" * 1_000)])
        client.claim("/fifo", limit=7, lease_ms=300_000)
        client.put("/later", "v", delay_ms=300_000)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[NodeProcess]:
    """A node over a schema of its own."""
    with asyncio.Runner() as runner:
        schema = fresh_schema(shared_server())
        place = runner.run(schema.__aenter__())
        flags = ("--postgres-dsn", place.dsn, "--postgres-schema", place.schema)
        with NodeProcess(tmp_path / "pg", "--backend", "postgres", *flags) as node:
            yield node
        runner.run(schema.__aexit__(None, None, None))


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path / "alone") as node:
        yield node


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node with tasks, which stay."""
    with NodeProcess(tmp_path_factory.mktemp("source") / "data") as node:
        fill(node.text_url, 12_000)
        yield node


def test_from_a_cluster_under_load_to_postgresql_and_back(
    tmp_path: Path, database: NodeProcess, alone: NodeProcess
) -> None:
    with ClusterProcess(tmp_path, 3) as cluster:
        fill(cluster.text_url())
        with SteadyLoad(cluster.text_url()) as load:
            load.more(20)
            there = moved("export", "one.export", url=cluster.text_url(), cwd=tmp_path)
            load.more(20)
        assert load.failures == []
    assert there["tasks"] >= TASKS
    assert there["docs"] == 1
    into = moved("import", "one.export", url=database.text_url, cwd=tmp_path)
    assert into["digest"] == there["digest"]
    back = moved("export", "two.export", url=database.http_url, cwd=tmp_path)
    assert (back["digest"], back["tasks"]) == (there["digest"], there["tasks"])
    home = moved("import", "two.export", url=alone.http_url, cwd=tmp_path)
    again = moved("export", "three.export", url=alone.text_url, cwd=tmp_path)
    assert home["digest"] == again["digest"] == there["digest"]
    with raftq.Client(alone.text_url, claimant="reader") as client:
        values = [task.value for task in client.claim("/fifo", limit=20)]
        assert values == list(range(7, 27))
        assert {task.claimant for task in client.tasks(queue="/fifo", claimant="filler")} == {
            "filler"
        }
        assert [doc.value for doc in client.docs("/ns")] == [b"x" * 1_000]


class Feeding:
    """``raftq import -`` whose stdin the test feeds."""

    def __init__(self, url: str, cwd: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "raftq.cli", "import", "-", "--url", url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=child_environment(), cwd=cwd,
        )  # fmt: skip

    def feed(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def end(self, code: int = 0) -> str:
        out, err = self._process.communicate(timeout=120)
        assert self._process.returncode == code, err.decode()
        return (out or err).decode()


@pytest.fixture
def exported(tmp_path: Path, source: NodeProcess) -> tuple[bytes, str]:
    there = moved("export", "whole.export", url=source.text_url, cwd=tmp_path)
    return (tmp_path / "whole.export").read_bytes(), there["digest"]


def unfinished(url: str) -> bool:
    with raftq.Client(url, timeout_s=2) as client:
        try:
            client.queues()
        except raftq.Unavailable as error:
            return "unfinished" in str(error)
    return False


def test_an_import_goes_on_when_the_leader_dies(
    tmp_path: Path, exported: tuple[bytes, str]
) -> None:
    data, digest = exported
    (tmp_path / "target").mkdir()
    with ClusterProcess(tmp_path / "target", 3) as cluster:
        leader, follower = cluster.leader(), cluster.follower()
        feeding = Feeding(cluster[follower].http_url, tmp_path)
        feeding.feed(data[: len(data) // 2])
        until(lambda: unfinished(cluster.text_url(follower)), "the import has begun")
        cluster.kill(leader)
        feeding.feed(data[len(data) // 2 :])
        assert json.loads(feeding.end())["digest"] == digest
        cluster.start(leader)
        same = moved("cluster", "verify", url=cluster.text_url(), cwd=tmp_path)
        assert {member["state"] for member in same["members"]} == {"same"}
        assert len({member["digest"] for member in same["members"]}) == 1
        again = moved("export", "again.export", url=cluster.text_url(leader), cwd=tmp_path)
        assert again["digest"] == digest


def test_an_import_whose_node_dies_is_unfinished_and_goes_on_at_another(
    tmp_path: Path, exported: tuple[bytes, str]
) -> None:
    data, digest = exported
    (tmp_path / "target").mkdir()
    with ClusterProcess(tmp_path / "target", 3) as cluster:
        follower = cluster.follower()
        feeding = Feeding(cluster[follower].http_url, tmp_path)
        feeding.feed(data[: len(data) // 2])
        until(lambda: unfinished(cluster.text_url(follower)), "the import has begun")
        cluster.kill(follower)
        feeding.end(5)
        cluster.kill()
        cluster.start()
        assert unfinished(cluster.text_url())
        for verb in (("put", "/a", "1"), ("export", "half.export")):
            said = moved(*verb, "--timeout", "1s", url=cluster.text_url(), cwd=tmp_path, code=5)
            assert "an import into this store is unfinished" in said["said"]
        assert not (tmp_path / "half.export").exists()
        into = moved("import", "whole.export", url=cluster.text_url(), cwd=tmp_path)
        assert into["digest"] == digest
        said = moved("import", "whole.export", url=cluster.text_url(), cwd=tmp_path, code=3)
        assert "imported here already" in said["said"]


def test_an_unfinished_import_can_be_dropped(tmp_path: Path, exported: tuple[bytes, str]) -> None:
    data, digest = exported
    with NodeProcess(tmp_path / "target") as node:
        feeding = Feeding(node.http_url, tmp_path)
        feeding.feed(data[: len(data) // 2])
        until(lambda: unfinished(node.text_url), "the import has begun")
        assert "before its end" in feeding.end(2)
        assert unfinished(node.text_url)
        moved("import", "--abandon", "--yes", url=node.text_url, cwd=tmp_path)
        assert "nothing" not in moved("put", "/a", "1", url=node.text_url, cwd=tmp_path)
        said = moved("import", "whole.export", url=node.text_url, cwd=tmp_path, code=3)
        assert "this store is not empty: it has 1 tasks, 1 queues" in said["said"]
        assert digest


def test_a_file_that_is_not_whole_is_refused_before_anything_is_sent(
    tmp_path: Path, exported: tuple[bytes, str]
) -> None:
    data, digest = exported
    flipped = bytearray(data)
    flipped[len(data) // 3] ^= 1
    with NodeProcess(tmp_path / "target") as node:
        for name, content in (("cut", data[:-100]), ("flipped", bytes(flipped))):
            (tmp_path / name).write_bytes(content)
            moved("import", name, url=node.text_url, cwd=tmp_path, code=1)
        assert not unfinished(node.text_url)
    checked = moved("import", "--dry-run", "whole.export", url="raftq://127.0.0.1:1", cwd=tmp_path)
    assert checked["digest"] == digest


def test_an_export_that_finds_no_room_leaves_no_file(
    tmp_path: Path, exported: tuple[bytes, str], source: NodeProcess
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    command = shlex.join([sys.executable, "-m", "raftq.cli", "export", "--url", source.text_url])
    for name, says in (("large.export", "File too large"), ("/dev/full", "No space left")):
        ran = subprocess.run(
            ["bash", "-c", f"ulimit -f 100; {command} {name}"],
            cwd=tmp_path, env=child_environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ran.returncode == 1, ran.stderr
        assert f"{name}: {says}" in ran.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    said = moved("export", "whole.export", url=source.text_url, cwd=tmp_path, code=1)
    assert "--force replaces it" in said["said"]
    moved("export", "--force", "whole.export", url=source.text_url, cwd=tmp_path)
    assert (tmp_path / "whole.export").stat().st_mode & 0o777 == 0o600


def test_a_file_goes_through_pipes(
    tmp_path: Path, exported: tuple[bytes, str], source: NodeProcess
) -> None:
    _, digest = exported
    raftq_command = shlex.join([sys.executable, "-m", "raftq.cli"])
    with NodeProcess(tmp_path / "target") as node:
        line = (
            f"{raftq_command} export - --url {source.text_url} | gzip | gunzip"
            f" | {raftq_command} import - --url {node.text_url}"
        )
        ran = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=tmp_path, env=child_environment(), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout)["digest"] == digest


def test_over_tls_a_token_moves_everything_if_it_is_an_administrators(tmp_path: Path) -> None:
    secured = SecuredNode(tmp_path)
    secured.grant("worker", "read,insert,claim,change,delete:*")
    with secured as node, NodeProcess(tmp_path / "target") as target:
        with raftq.Client(node.url, credentials=node.credentials("ops")) as client:
            client.put("/a", 1)

        def run(verb: str, name: str, url: str, code: int) -> str:
            ca = str(node.certs / "ca.pem")
            env = {"RAFTQ_TOKEN": node.secrets[name], "RAFTQ_CA": ca}
            ran = run_raftq(verb, "file.export", "--url", url, cwd=tmp_path, env=env)
            assert ran.returncode == code, ran.stderr
            return ran.stderr

        assert "needs the right admin" in run("export", "worker", node.url, 6)
        assert not (tmp_path / "file.export").exists()
        run("export", "ops", node.url, 0)
        assert "needs the right admin" in run("import", "worker", node.http_url, 6)
        assert "not empty" in run("import", "ops", node.url, 3)
        run("import", "ops", target.text_url, 0)
