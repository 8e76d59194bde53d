"""``raftq doc`` and plans with docs against real nodes, with a log and over PostgreSQL."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.node_process import NodeProcess, run_raftq
from tests.support.real_nodes import OF_ONE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=OF_ONE)
def node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    with OF_ONE[request.param](tmp_path_factory.mktemp("docs")) as nodes:
        yield nodes["n1"]


class Command:
    """Runs ``raftq``; ``err`` is what it said on stderr last."""

    def __init__(self, node: NodeProcess, folder: Path) -> None:
        self._env = {"RAFTQ_URL": node.text_url}
        self._folder = folder
        self.err = ""

    def __call__(self, *arguments: str, code: int = 0, stdin: str = "") -> list[dict[str, Any]]:
        ran = run_raftq(*arguments, cwd=self._folder, stdin=stdin, env=self._env)
        self.err = ran.stderr
        assert ran.returncode == code, ran.stderr
        assert "Traceback" not in ran.stderr
        return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.fixture
def command(node: NodeProcess, tmp_path: Path) -> Command:
    return Command(node, tmp_path)


def test_docs_are_put_listed_changed_counted_and_removed(command: Command) -> None:
    for key, value in (("b", '{"n":1}'), ("a", "word"), ("c", "3")):
        command("doc", "put", "/cli", key, value, "--id", f"id-{key}")
    listed = command("doc", "list", "/cli")
    assert [(row["key"], row["value"]) for row in listed] == [
        ("a", "word"),
        ("b", {"n": 1}),
        ("c", 3),
    ]
    assert [
        row["key"] for row in command("doc", "list", "/cli", "--from", "b", "--before", "c")
    ] == ["b"]
    command("doc", "put", "/cli", "b", "changed", "--id", "id-b")
    (changed,) = command("doc", "list", "/cli", "--from", "b", "--before", "c")
    assert (changed["value"], changed["version"]) == ("changed", 1)
    counted = command("doc", "namespaces", "--prefix", "/cli")
    assert counted == [{"name": "/cli", "docs": 3, "claimed": 0, "sets": 3}]
    command("doc", "rm", "/cli", "id-a", "id-none", code=4)
    command("doc", "rm", "/cli", "id-a", "id-b", "id-c")
    assert command("doc", "list", "/cli") == []


def test_a_plan_of_tasks_and_docs_is_done_whole_or_not_at_all(
    command: Command, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    insert = {"namespace": "/plan", "key": "k", "id": "d", "value": [1]}
    plan.write_text(
        json.dumps({"inserts": [{"queue": "/plan", "id": "t"}], "doc_inserts": [insert]})
    )
    command("modify", "plan.json", "--dry-run")
    assert command("doc", "list", "/plan") == []
    command("modify", "plan.json")
    command("modify", "plan.json", code=3)
    assert "doc_insert" in command.err
    stale = {"deletes": [{"id": "t", "version": 0}],
             "doc_deletes": [{"namespace": "/plan", "id": "d", "version": 7}]}  # fmt: skip
    plan.write_text(json.dumps(stale))
    command("modify", "plan.json", code=3)
    assert [row["id"] for row in command("tasks", "/plan")] == ["t"]
    stale["doc_deletes"][0]["version"] = 0
    plan.write_text(json.dumps(stale))
    command("modify", "plan.json")
    assert command("doc", "list", "/plan") == []
