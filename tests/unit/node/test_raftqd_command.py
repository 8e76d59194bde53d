"""``raftqd`` up to the point where a node would run: help, mistakes, ``config show``."""

import re

import pytest
from click.testing import CliRunner
from tests.support.node_process import REPOSITORY

from raftq_cluster.config.settings import OPTIONS
from raftq_cluster.daemon import raftqd


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for option in OPTIONS.values():
        monkeypatch.delenv(option.variable, raising=False)
    monkeypatch.delenv("RAFTQ_CONFIG", raising=False)
    return lambda *arguments, **kwargs: CliRunner().invoke(raftqd, arguments, **kwargs)


def test_help_has_every_setting_and_its_default(run):
    result = run("--help")
    assert result.exit_code == 0
    for option in OPTIONS.values():
        assert option.flag in result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--peers", "127.0.0.1:7678"), "raftqd: No such option '--peers'"),
        (("--http",), "raftqd: Option '--http' requires an argument"),
        (("--http", "x"), "raftqd: --http: 'x' is not HOST:PORT"),
        (("--text", "0.0.0.0:7979"), "raftqd: --text: 0.0.0.0:7979 can be reached"),
        (("--config", "none.toml"), "raftqd: --config: none.toml cannot be read"),
        (("serve",), "raftqd: No such command 'serve'"),
        (("config",), "raftqd: Missing command"),
        (("dev", "--nodes", "4"), "raftqd: --nodes: 4 nodes survive no more deaths than 3"),
        (("dev", "--nodes", "9"), "raftqd: --nodes: 9 is not from 1 to 7"),
        (("dev", "--nodes", "three"), "raftqd: Invalid value for '--nodes'"),
        (("dev", "--http", "7677"), "raftqd: --http: '7677' is not HOST:PORT"),
        (("dev", "--text", "0.0.0.0:7979"), "raftqd: --text: dev is for this machine alone"),
        (
            ("dev", "--nodes", "3", "--peer", "127.0.0.1:65530"),
            "raftqd: --peer: 127.0.0.1:65530 le",
        ),
        (("dev", "--memory", "--data-dir", "x"), "raftqd: --memory: "),
        (("--backend", "memory", "dev"), "raftqd: dev takes its own flags"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(run, arguments, sentence):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(sentence)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("flag", ["--tls-ciphers", "--postgres-host"])
def test_flags_of_what_is_not_there_are_not_taken_silently(run, flag):
    result = run(flag, "x")
    assert result.exit_code == 2
    assert f"No such option '{flag}'" in result.stderr


def test_config_show_prints_a_file_that_says_where_each_value_came_from(run, tmp_path):
    (tmp_path / "raftq.toml").write_text('node-id = "n3"\n')
    result = run(
        "config", "show", "--backend", "memory", "--insecure", env={"RAFTQ_TEXT": "127.0.0.1:9"}
    )
    assert result.exit_code == 0
    lines = {line.split(" = ")[0]: line for line in result.stdout.splitlines()}
    assert set(lines) == {option.key for option in OPTIONS.values()}
    assert lines["backend"].split() == ["backend", "=", '"memory"', "#", "--backend"]
    assert lines["insecure"].split() == ["insecure", "=", "true", "#", "--insecure"]
    assert lines["text"].endswith("# RAFTQ_TEXT")
    assert lines["node-id"].endswith("raftq.toml, node-id")
    assert lines["http"].endswith("# default")


def test_what_config_show_prints_is_read_back_as_the_same_settings(run, tmp_path):
    flags = ("--data-dir", 'odd "dir" \\ here', "--drain-ms", "5", "--insecure")
    shown = run("config", "show", *flags).stdout
    (tmp_path / "raftq.toml").write_text(shown)
    again = run("config", "show").stdout
    assert [line.split("  #")[0] for line in again.splitlines()] == [
        line.split("  #")[0] for line in shown.splitlines()
    ]


def test_flags_before_config_show_count_too(run):
    assert 'backend = "memory"' in run("--backend", "memory", "config", "show").stdout


def test_config_show_warns_of_a_misspelt_variable(run):
    result = run("config", "show", env={"RAFTQ_BACKENDS": "memory"})
    assert "RAFTQ_BACKENDS is not a setting; is RAFTQ_BACKEND meant?" in result.stderr


def test_every_setting_is_in_the_handbook_with_its_default():
    handbook = (REPOSITORY / "docs" / "operations.md").read_text()
    for option in OPTIONS.values():
        (row,) = [
            line for line in handbook.splitlines() if re.match(rf"\| `{option.flag}[ `]", line)
        ]
        if option.default not in ("", False):
            assert f"`{option.default}`" in row
