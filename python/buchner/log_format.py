"""The form of lines in the error log, which the Rust half of the gateway gives its own too."""

from __future__ import annotations

import logging

_LEVELS = {logging.DEBUG: "debug", logging.INFO: "notice", logging.WARNING: "warn", logging.ERROR: "error"}


class LineFormatter(logging.Formatter):
    """The form all processes give the lines of the error log: `2026/01/31 12:00:00 [pid] [level] message`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s [%(process)d] [%(level)s] %(message)s", "%Y/%m/%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, with its level as nginx calls it."""
        record.level = _LEVELS.get(record.levelno, "emerg" if record.levelno > logging.ERROR else "info")
        return super().format(record)
