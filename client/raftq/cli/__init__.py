"""The ``raftq`` command: one file per verb, everything heavy imported late.

Knows the client library and nothing of a node. Source: docs/cli.md.
"""
