"""Stable error codes, the one list that servers, clients and documents share.

A code never changes its meaning. ``retryable`` says whether the same request, with the same
idempotency key, may be sent again and can succeed: it never means "nothing happened".
Source: RFC 9457 for the document that carries a code over HTTP.
"""

from typing import Final, NamedTuple


class Code(NamedTuple):
    """One refusal or failure, as every dialect reports it."""

    name: str
    status: int  # HTTP status
    retryable: bool
    title: str


_ALL: Final = (
    # The caller's: the same request will be refused again.
    Code("bad_request", 400, False, "The request cannot be read"),
    Code("invalid", 400, False, "A field has a value it cannot have"),
    Code("unauthenticated", 401, False, "No valid credentials were given"),
    Code("forbidden", 403, False, "These credentials do not allow this"),
    Code("not_found", 404, False, "There is nothing at this address"),
    Code("task_not_found", 404, False, "There is no such task"),
    Code("member_not_found", 404, False, "There is no such member of the cluster"),
    Code("method_not_allowed", 405, False, "This address does not take this method"),
    Code("not_acceptable", 406, False, "None of the accepted formats can be written"),
    Code("dependency", 409, False, "A part of the modification does not hold"),
    Code("change_refused", 409, False, "The members cannot be changed like this"),
    Code("import_refused", 409, False, "What the file holds cannot be taken into this store"),
    Code("too_large", 413, False, "A size limit is passed"),
    Code("unsupported_media_type", 415, False, "The body's format is not known"),
    Code("idempotency_key_reused", 422, False, "The key was used for another request"),
    # The moment's: try again later.
    Code("request_timeout", 408, True, "The request did not arrive in time"),
    Code("store_full", 429, True, "The node holds as many bytes or keys as it may"),
    Code("too_busy", 429, True, "Too many requests, waiters or connections"),
    Code("unavailable", 503, True, "The operation was not done; no leader or stopping"),
    # Nobody's knowledge: retry with the same idempotency key to learn it.
    Code("outcome_unknown", 504, True, "It is not known whether the operation was done"),
    # Ours.
    Code("internal", 500, False, "The node has met an error of its own"),
)

CODES: Final[dict[str, Code]] = {code.name: code for code in _ALL}
