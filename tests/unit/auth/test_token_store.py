"""The tokens file: what it may say, and what happens when it changes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from raftq.wire.tokens import GRANTS_MAX, digest_of, entry_text, new_secret
from raftq_cluster.auth.store import FILE_BYTES_MAX, TokensError, TokenStore
from raftq_cluster.auth.tokens import parse_grants
from raftq_cluster.core import rights

SECRET = "rq_first"
OTHER = "rq_second"


@pytest.fixture
def logs() -> Iterator[Any]:
    structlog.reset_defaults()
    with capture_logs() as lines:
        yield lines


def tokens_file(path: Path, *entries: str, mode: int = 0o600) -> Path:
    file = path / "tokens.toml"
    replacement = path / "tokens.new"
    replacement.write_text("\n".join(entries))
    replacement.chmod(mode)
    replacement.replace(file)
    return file


def test_a_secret_stands_for_the_name_and_the_grants_of_its_entry(tmp_path: Path) -> None:
    rules = ["read,insert:/mail/*", "all:/mail/out"]
    store = TokenStore(tokens_file(tmp_path, entry_text("mailer", digest_of(SECRET), rules)))
    found = store.identify(SECRET)
    assert found is not None
    assert found[1].name == "mailer"
    assert found[1].grants == (("/mail/*", rights.READ | rights.INSERT), ("/mail/out", rights.ALL))


@pytest.mark.parametrize("secret", ["", "rq_", SECRET + "x", SECRET.upper(), "é", "x" * 10_000])
def test_any_other_secret_stands_for_nobody(tmp_path: Path, secret: str) -> None:
    store = TokenStore(tokens_file(tmp_path, entry_text("a", digest_of(SECRET), ["all:*"])))
    assert store.identify(secret) is None


def test_the_file_holds_no_secret(tmp_path: Path) -> None:
    secret = new_secret()
    assert secret.removeprefix("rq_") not in entry_text("a", digest_of(secret), ["all:*"])
    assert len(secret) > 40


def test_one_name_may_have_two_secrets_while_they_are_changed(tmp_path: Path) -> None:
    entries = [entry_text("a", digest_of(secret), ["all:*"]) for secret in (SECRET, OTHER)]
    store = TokenStore(tokens_file(tmp_path, *entries))
    assert store.identify(SECRET) is not None
    assert store.identify(OTHER) is not None


def test_a_changed_file_counts_from_the_next_look(tmp_path: Path, logs: Any) -> None:
    store = TokenStore(tokens_file(tmp_path, entry_text("a", digest_of(SECRET), ["all:*"])))
    before = store.generation
    tokens_file(tmp_path, entry_text("b", digest_of(OTHER), ["read:*"]))
    store.refresh()
    assert store.identify(SECRET) is None
    assert store.identify(OTHER) is not None
    assert store.generation != before


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, logs: Any) -> None:
    store = TokenStore(tokens_file(tmp_path, entry_text("a", digest_of(SECRET), ["all:*"])))
    before = store.generation
    store.refresh()
    assert store.generation == before


@pytest.mark.parametrize("broken", ["[[token]", "[[token]]\nname = 'x'\n", None])
def test_a_broken_or_missing_file_keeps_the_old_tokens_and_is_logged_once(
    tmp_path: Path, logs: Any, broken: str | None
) -> None:
    file = tokens_file(tmp_path, entry_text("a", digest_of(SECRET), ["all:*"]))
    store = TokenStore(file)
    if broken is None:
        file.unlink()
    else:
        tokens_file(tmp_path, broken)
    store.refresh()
    store.refresh()
    assert store.identify(SECRET) is not None
    assert [line["log_level"] for line in logs] == ["error"]


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 1), (0o604, 1)])
def test_a_file_that_others_may_read_is_warned_of(
    tmp_path: Path, logs: Any, mode: int, warnings: int
) -> None:
    TokenStore(tokens_file(tmp_path, entry_text("a", digest_of(SECRET), ["all:*"]), mode=mode))
    assert len([line for line in logs if line["log_level"] == "warning"]) == warnings


DIGEST = digest_of(SECRET)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("token = 3", "array"),
        ("[[token]]\nname = 'a'\nsha256 = 'ab'\nrights = ['all:*']", "64 hexadecimal"),
        (f"[[token]]\nname = 'a b'\nsha256 = '{DIGEST}'\nrights = ['all:*']", "not a name"),
        (f"[[token]]\nname = 'a'\nsha256 = '{DIGEST}'\nrights = []", "no right is given"),
        (f"[[token]]\nname = 'a'\nsha256 = '{DIGEST}'\nrights = ['write:*']", "none of read"),
        (f"[[token]]\nname = 'a'\nsha256 = '{DIGEST}'\nrights = ['all']", "RIGHT[,RIGHT...]"),
        (f"[[token]]\nname = 'a'\nsha256 = '{DIGEST}'\nrights = ['all:/a*b']", "one * behind"),
        (f"[[token]]\nname = 'a'\nsha256 = '{DIGEST}'\nrights = ['all:*']\nsecret = 'x'", "secret"),
        ("#" * FILE_BYTES_MAX + "##", "larger"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(
    tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(TokensError) as refused:
        TokenStore(tokens_file(tmp_path, text))
    assert why in str(refused.value)


def test_two_entries_cannot_have_one_secret(tmp_path: Path) -> None:
    entries = [entry_text(name, digest_of(SECRET), ["all:*"]) for name in ("a", "b")]
    with pytest.raises(TokensError, match="token 2"):
        TokenStore(tokens_file(tmp_path, *entries))


def test_rights_of_one_pattern_add_up() -> None:
    assert parse_grants(["read:/a", "claim:/a"]) == (("/a", rights.READ | rights.CLAIM),)


def test_a_token_has_so_many_patterns_and_no_more() -> None:
    with pytest.raises(ValueError, match=str(GRANTS_MAX)):
        parse_grants([f"read:/q{number}" for number in range(GRANTS_MAX + 1)])
