"""What clients speak: HTTP and the text protocol, each over the same service."""
