"""Tasks in a state machine that Raft replicates. See ``DESIGN.md`` in this directory."""
