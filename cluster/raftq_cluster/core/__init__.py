"""The state machine: pure and deterministic. No IO, no clock, no randomness, no third-party import."""
