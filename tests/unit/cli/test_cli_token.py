"""``raftq token new``: the secret on stdout, its entry in the file, and never the one in the other."""

import re

import pytest
from structlog.testing import capture_logs
from tests.support.raftq_command import invoke
from tests.support.recording_client import RecordingClient

from raftq_cluster.auth.store import TokenStore
from raftq_cluster.core import rights


def new(*arguments):
    return invoke(RecordingClient(), "token", "new", *arguments)


def test_the_secret_is_all_that_stdout_has_and_a_node_knows_it(tmp_path):
    file = tmp_path / "tokens.toml"
    ran = new("mailer", "--grant", "claim,delete:/mail/*", "--file", str(file))
    assert ran.code == 0
    secret = ran.out.rstrip("\n")
    assert re.fullmatch(r"rq_[A-Za-z0-9_-]{43}", secret)
    assert secret not in file.read_text()
    assert secret not in ran.err
    _, principal = TokenStore(file).identify(secret)
    assert principal == ("mailer", (("/mail/*", rights.CLAIM | rights.DELETE),))


def test_a_file_is_made_for_its_owner_alone_and_grows(tmp_path):
    file = tmp_path / "tokens.toml"
    secrets = [new(name, "--grant", "all:*", "--file", str(file)).out.strip() for name in "ab"]
    assert file.stat().st_mode & 0o777 == 0o600
    with capture_logs():
        store = TokenStore(file)
    assert [store.identify(secret)[1].name for secret in secrets] == ["a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.toml"]


def test_what_stands_in_the_file_stays_with_its_mode(tmp_path):
    file = tmp_path / "tokens.toml"
    file.write_text("# ours\n")
    file.chmod(0o640)
    new("a", "--grant", "all:*", "--file", str(file))
    assert file.read_text().startswith("# ours\n\n[[token]]\n")
    assert file.stat().st_mode & 0o777 == 0o640


def test_without_a_file_the_entry_is_shown_beside_the_secret(tmp_path):
    ran = new("a", "--grant", "read:q")
    (tmp_path / "tokens.toml").write_text(ran.err)
    (tmp_path / "tokens.toml").chmod(0o600)
    assert TokenStore(tmp_path / "tokens.toml").identify(ran.out.strip())[1].name == "a"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("a",), "--grant"),
        (("a b", "--grant", "all:*"), "is not a name"),
        (("a", "--grant", "all"), "is not RIGHT"),
        (("a", "--grant", "write:*"), "none of read, insert"),
        (("a", "--grant", "read:/a*b"), "one * behind"),
        (("a", "--grant", "read:" + "q" * 300), "longer than 256 bytes"),
    ],
)
def test_a_token_that_no_node_would_take_is_not_made(tmp_path, arguments, why):
    file = tmp_path / "tokens.toml"
    ran = new(*arguments, "--file", str(file))
    assert (ran.code, ran.out) == (2, "")
    assert why in ran.err
    assert not file.exists()


def test_a_file_that_cannot_be_written_is_one_line_and_no_secret(tmp_path):
    ran = new("a", "--grant", "all:*", "--file", str(tmp_path / "none" / "tokens.toml"))
    assert (ran.code, ran.out) == (2, "")
    assert "No such file or directory" in ran.err


def test_the_group_alone_shows_what_there_is():
    assert "new" in invoke(RecordingClient(), "token").out
