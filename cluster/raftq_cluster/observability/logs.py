"""Log lines on stderr: ``key=value`` for people at a terminal, JSON for everything else.

Lines of libraries (asyncio, aiohttp, the Raft library), which use the standard ``logging``, take the
same way and the same shape. One line per record, times in UTC. Knows nothing of what is logged.
"""

import logging
import sys
from typing import Final, Literal, TextIO

import structlog
from structlog.typing import Processor

Format = Literal["auto", "text", "json"]
_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_KEYS_FIRST: Final = ("ts", "level", "event")


def configure(level: str, fmt: Format = "auto", stream: TextIO | None = None) -> None:
    """Send every record of at least ``level`` (debug, info, warning, error) to ``stream`` (stderr)."""
    out = stream if stream is not None else sys.stderr
    as_text = fmt == "text" or (fmt == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _last(as_text)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    logging.raiseExceptions = False  # a reader of stderr that went away must not disturb the node
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # a later call of this function counts for every logger
    )


def _last(as_text: bool) -> Processor:
    if as_text:
        return structlog.processors.LogfmtRenderer(key_order=_KEYS_FIRST, drop_missing=True)
    return structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
