"""One module per verb, each with a ``command``. ``raftq.cli.commands`` says which verb is where."""
