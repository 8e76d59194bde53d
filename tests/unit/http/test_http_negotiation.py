"""Formats are chosen as RFC 9110 says."""

import pytest

from raftq.wire.formats import Format
from raftq_cluster.servers.http.negotiation import answer_format, body_format


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", "json"),
        ("APPLICATION/JSON", "json"),
        ("application/json; charset=UTF-8", "json"),
        ('application/json;charset="utf-8"', "json"),
        ("application/json; version=1", "json"),
        ("application/json; charset=latin-1", None),
        ("application/msgpack", "msgpack"),
        ("application/x-msgpack", None),
        ("text/json", None),
        ("json", None),
        ("", None),
    ],
)
def test_a_content_type_names_a_format_or_none(content_type: str, expected: Format | None) -> None:
    assert body_format(content_type) == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "msgpack"),
        ("*/*", "msgpack"),
        ("application/*", "msgpack"),
        ("application/json", "json"),
        ("application/problem+json", "json"),
        ("application/json, application/msgpack", "msgpack"),
        ("application/json, application/msgpack;q=0.9", "json"),
        ("application/json;q=0.1, */*;q=0.5", "msgpack"),
        ("application/msgpack;q=0, */*", "json"),
        ("text/html, */*;q=0.01", "msgpack"),
        ("text/html", None),
        ("application/json;q=0", None),
        ("application/json;q=2", None),
        ("application/json;q=high", None),
        (",,;;q=", None),
        (", ".join(["text/html"] * 40 + ["application/json"]), None),
    ],
)
def test_an_answer_has_the_format_that_is_accepted_most(
    accept: str, expected: Format | None
) -> None:
    assert answer_format(accept, "msgpack") == expected
