"""Chaos: real nodes, real sockets, real clocks, and what happens to all of them; see ``scripts/chaos --help``."""
