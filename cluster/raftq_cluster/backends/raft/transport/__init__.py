"""Connections between the members of a cluster. See ``DESIGN.md`` beside this file."""
