"""How a document reaches a node and its answer comes back: one protocol, two wires, failover over both."""
