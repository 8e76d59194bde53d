"""Bytes of log entries and of snapshots. Knows the core's tuples and MessagePack, nothing of files."""
