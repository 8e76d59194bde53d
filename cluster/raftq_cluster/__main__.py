"""``python -m raftq_cluster``: the same as ``raftqd``."""

from raftq_cluster.daemon import main

if __name__ == "__main__":
    main()
