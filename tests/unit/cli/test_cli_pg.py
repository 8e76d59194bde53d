"""``raftq pg``: the node's own command does it, with the words as they were given."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def raftq(*words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "raftq.cli", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PATH": path or os.environ["PATH"]},
    )


def test_the_words_go_to_the_nodes_command():
    ran = raftq("pg", "print", "--postgres-schema", "other")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "CREATE SCHEMA other;" in ran.stdout


@pytest.mark.parametrize("words", [("nonsense",), ("status", "--nonsense")])
def test_a_mistake_is_the_nodes_to_explain(words):
    ran = raftq("pg", *words)
    assert ran.returncode == 2
    assert ran.stderr.startswith("raftqd: ")
    assert Path(sys.executable).with_name("raftqd").exists()
