"""Addresses of a cluster."""

import pytest

from raftq import AsyncClient, InvalidRequest
from raftq.transport.urls import Address, parse_urls, split_secret


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("raftq://a:1", [("raftq", "a", 1)]),
        ("raftq://a", [("raftq", "a", 7979)]),
        ("http://a/", [("http", "a", 7677)]),
        ("raftq://a:1,b:2, c:3", [("raftq", "a", 1), ("raftq", "b", 2), ("raftq", "c", 3)]),
        ("raftq://a:1,raftq://b:2", [("raftq", "a", 1), ("raftq", "b", 2)]),
        ("raftq://a:1,a:1", [("raftq", "a", 1)]),
        ("raftqs://a", [("raftqs", "a", 7979)]),
        ("https://a,b:1", [("https", "a", 7677), ("https", "b", 1)]),
        ("http://[::1]:5,[::2]", [("http", "::1", 5), ("http", "::2", 7677)]),
    ],
)
def test_addresses_are_read_in_order(text, addresses):
    assert parse_urls(text) == [Address(*address) for address in addresses]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a:1", "begins with none of"),
        ("ftp://a:1", "begins with none of"),
        ("raftq://a:1,raftqs://b:2", "one scheme"),
        ("raftq://", "HOST:PORT"),
        ("raftq://a:1,,b:2", "HOST:PORT"),
        ("raftq://::1:5", "HOST:PORT"),
        ("raftq://a b:1", "HOST:PORT"),
        ("raftq://a:1,me@b:1", "HOST:PORT"),
        ("raftqs://one@a,raftqs://two@b", "one token"),
        ("http://a:1/v1", "no port"),
        ("raftq://a:0", "no port"),
        ("raftq://a:65536", "no port"),
        ("raftq://a:x", "no port"),
        ("raftq://a:1,http://b:2", "one scheme"),
        ("raftq://" + ",".join(f"a{n}" for n in range(65)), "more than 64"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text, why):
    with pytest.raises(InvalidRequest, match=why):
        AsyncClient(text)


def test_the_environment_and_the_default_decide_where_nothing_is_said(monkeypatch):
    monkeypatch.delenv("RAFTQ_URL", raising=False)
    assert parse_urls(None) == [Address("raftq", "127.0.0.1", 7979)]
    monkeypatch.setenv("RAFTQ_URL", "http://n1,n2")
    assert [address.host for address in parse_urls(None)] == ["n1", "n2"]


def test_an_address_shows_itself_as_a_url():
    assert str(Address("raftq", "::1", 5)) == "raftq://[::1]:5"
    assert str(Address("http", "n1", 5)) == "http://n1:5"


@pytest.mark.parametrize(
    ("text", "places", "secret"),
    [
        ("raftqs://a:1,b:2", "raftqs://a:1,b:2", ""),
        ("raftqs://rq_x@a:1,b:2", "raftqs://a:1,b:2", "rq_x"),
        ("raftqs://rq_x@a:1,raftqs://rq_x@b:2", "raftqs://a:1,raftqs://b:2", "rq_x"),
    ],
)
def test_a_token_is_taken_out_of_the_urls(text, places, secret):
    assert split_secret(text) == (places, secret)


@pytest.mark.parametrize(
    "text",
    [
        "bad://rq_secret@a", "raftqs://rq_secret@a:x", "raftqs://rq_secret@", "raftqs://a,rq_secret@b",
        "raftqs://x/rq_secret@a", "raftqs://u:x/rq_secret@a", "raftqs://x@rq_secret@a", "rq_secret@a",
    ],
)  # fmt: skip
def test_no_error_shows_the_token_of_a_url(text):
    with pytest.raises(InvalidRequest) as refused:
        AsyncClient(text)
    assert "rq_secret" not in str(refused.value)
