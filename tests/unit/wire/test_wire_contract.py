"""The contract itself: codes that never change their meaning, documents that cannot be misspelt."""

import inspect

import msgspec
import pytest

from raftq.wire import docs, documents, membership
from raftq.wire.codes import CODES

DOCUMENTS = [
    type_
    for module in (documents, docs, membership)
    for _, type_ in inspect.getmembers(module, inspect.isclass)
    if issubclass(type_, documents.Document) and type_ is not documents.Document
]


def test_codes_and_what_they_mean_are_these() -> None:
    """A code is never renamed, and never changes its status or whether a retry can help."""
    assert {name: (code.status, code.retryable) for name, code in CODES.items()} == {
        "bad_request": (400, False),
        "invalid": (400, False),
        "unauthenticated": (401, False),
        "forbidden": (403, False),
        "not_found": (404, False),
        "task_not_found": (404, False),
        "member_not_found": (404, False),
        "method_not_allowed": (405, False),
        "not_acceptable": (406, False),
        "dependency": (409, False),
        "change_refused": (409, False),
        "import_refused": (409, False),
        "too_large": (413, False),
        "unsupported_media_type": (415, False),
        "idempotency_key_reused": (422, False),
        "request_timeout": (408, True),
        "store_full": (429, True),
        "too_busy": (429, True),
        "unavailable": (503, True),
        "outcome_unknown": (504, True),
        "internal": (500, False),
    }


@pytest.mark.parametrize("name", CODES)
def test_a_code_is_known_by_its_name_and_says_something(name: str) -> None:
    assert CODES[name].name == name
    assert CODES[name].title


@pytest.mark.parametrize("type_", DOCUMENTS)
def test_no_document_takes_a_field_that_it_does_not_know(type_: type[documents.Document]) -> None:
    assert type_.__struct_config__.forbid_unknown_fields
    with pytest.raises(msgspec.ValidationError, match=r"unknown field|missing required field"):
        msgspec.convert({"misspelt": 1}, type_)


@pytest.mark.parametrize("type_", DOCUMENTS)
def test_every_document_says_what_it_is(type_: type[documents.Document]) -> None:
    assert type_.__doc__
    assert type_.__doc__ != documents.Document.__doc__


def test_the_anonymous_claimant_has_one_name_on_both_sides() -> None:
    assert documents.ClaimRequest(queues=["/a"]).claimant == documents.ANONYMOUS == "anonymous"
