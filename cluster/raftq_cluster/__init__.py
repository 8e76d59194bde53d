"""The node of raftq: core, codec, backends, service and servers. Imports go down only."""
