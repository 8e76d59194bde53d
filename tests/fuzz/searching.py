"""One search with coverage feedback: instruments the code under test, and lets atheris (libFuzzer) choose inputs.

Runs in a process of its own, which libFuzzer ends. Arguments: the target, and what libFuzzer is told.
"""

import logging
import os
import sys
from typing import Final

import atheris
import structlog

from tests.fuzz.corpus import target

AGAIN: Final = "RAFTQ_FUZZ_AGAIN"  # a program that starts this one again: libFuzzer merges so


def main() -> None:
    """Search until libFuzzer has enough."""
    name, *flags = sys.argv[1:]
    logging.lastResort = None  # what strangers say makes nodes log a lot
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with atheris.instrument_imports(include=["raftq", "raftq_cluster"]):
        module = target(name)
    again = os.environ.get(AGAIN, name)
    atheris.Setup([again, *flags], module.fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
