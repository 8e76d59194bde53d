"""What a node tells about itself: logs and metrics."""
