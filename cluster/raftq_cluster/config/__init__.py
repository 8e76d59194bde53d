"""What a node is told: settings from file, environment and flags. Knows no other part of the node."""

from raftq_cluster.config.errors import EXIT_ERROR, EXIT_USAGE, StartError, why_not_listened

__all__ = ["EXIT_ERROR", "EXIT_USAGE", "StartError", "why_not_listened"]
