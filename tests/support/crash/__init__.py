"""Power cuts under load: a load generator, the history it writes, and the checker of that history."""
