"""``raftqd dev``: real nodes, a worker and tasks on this machine, for the first five minutes."""
