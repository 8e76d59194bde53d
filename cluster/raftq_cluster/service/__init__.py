"""The one facade that servers call: limits, ids, idempotency marks, waiters, rendering.

It knows documents and operations, and a backend behind a protocol; it knows no sockets and no
dialect's syntax.
"""
