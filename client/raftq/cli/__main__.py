"""``python -m raftq.cli``: the same as the ``raftq`` command."""

from raftq.cli.main import main

if __name__ == "__main__":
    main()
