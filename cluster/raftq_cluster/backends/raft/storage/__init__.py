"""The durable half of the Raft backend: log, term and vote, snapshots, and the directory they live in.

Knows bytes, files and when they are safe; knows nothing of what an entry means, of elections or of
peers. ``DESIGN.md`` beside this file has the formats and the reasoning.
"""
