"""The EntroQ dialect: ``/api/v0`` in its protocols 1 and 2, and Connect under ``/api.EntroQ``.

It parses, calls the service, renders. Requests and answers are protobuf-JSON. Source: EntroQ v1.13, its
``entroq.proto``, and what its Python clients 0.14.0 and 0.15.0 send. ``DESIGN.md`` has the differences.
"""
