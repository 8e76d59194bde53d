"""Shapes."""

from collections.abc import Sequence
from typing import Any


def check_segment(operations: Sequence[Any]) -> None:
    """Check."""
