"""Tokens as text: secrets, entries, and what may stand in them."""

import tomllib

import pytest

from raftq.wire.tokens import (
    GRANTS_MAX,
    PATTERN_BYTES_MAX,
    RIGHTS,
    check_name,
    digest_of,
    entry_text,
    new_secret,
    parse_rights,
)


def test_secrets_are_long_and_never_the_same() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(secret) == 46 and secret.startswith("rq_") for secret in secrets)


def test_a_digest_is_sha_256_in_hexadecimal() -> None:
    assert digest_of("abc") == ("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")


@pytest.mark.parametrize("name", ["a", "mail.worker@host-1_x", "9" * 64])
def test_a_name_is_taken(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", "a\n", 'a"', "é", "9" * 65])
def test_a_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        check_name(name)


def test_rights_of_one_pattern_add_up_and_all_is_every_one() -> None:
    assert parse_rights(["read:/a", "claim, read:/a", "all:b*"]) == {
        "/a": {"read", "claim"},
        "b*": set(RIGHTS),
    }


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ([], "no right is given"),
        (["read"], "is not RIGHT"),
        (["read:"], "is not RIGHT"),
        (["read:a b"], "is not RIGHT"),
        (["read:a\x07"], "is not RIGHT"),
        ([":a"], "'' is none of read, insert"),
        (["write:a"], "'write' is none of read, insert"),
        (["read:a*b"], r"one \* behind"),
        (["read:" + "é" * (PATTERN_BYTES_MAX // 2 + 1)], "longer than"),
        ([f"read:{number}" for number in range(GRANTS_MAX + 1)], "more than"),
    ],
)
def test_rights_that_mean_nothing_are_refused(texts: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_rights(texts)


def test_an_entry_is_toml_whatever_the_pattern_holds() -> None:
    rights = ['read:/a"b\\c', "all:*"]
    (entry,) = tomllib.loads(entry_text("a", digest_of("x"), rights))["token"]
    assert entry == {"name": "a", "sha256": digest_of("x"), "rights": rights}
