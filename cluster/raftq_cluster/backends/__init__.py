"""Where the state lives: one small protocol, and memory, Raft and PostgreSQL behind it."""
