"""One search with coverage feedback: instruments the code under test, and lets atheris (libFuzzer) choose inputs.

Runs in a process of its own, which libFuzzer ends. Arguments: the target, and what libFuzzer is told.
"""

import logging
import sys

import atheris
import structlog

from tests.fuzz.corpus import target


def main() -> None:
    """Search until libFuzzer has enough."""
    name, *flags = sys.argv[1:]
    logging.lastResort = None  # what strangers say makes nodes log a lot
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with atheris.instrument_imports(include=["raftq", "raftq_cluster"]):
        module = target(name)
    atheris.Setup([name, *flags], module.fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
