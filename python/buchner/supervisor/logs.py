"""The supervisor's log, and log files that outlive a change of user."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from typing import TYPE_CHECKING

from buchner.errors import BuchnerError, ConfigError
from buchner.log_format import LineFormatter
from buchner.supervisor.log_writer import LogWriter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buchner.supervisor.identity import Identity

logger = logging.getLogger("buchner")

_PREPARE = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_FLUSH_SECONDS = 1.0
"""Longest wait for a reader of standard error, where its lines have to be out."""

_writer = LogWriter()
_error_log: str | None = None
_terminal: int | None = None
"""Standard error as it was, until the service serves."""


class _Handler(logging.Handler):
    """Hands the lines to the thread that writes them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            _writer.put(f"{self.format(record)}\n")
        except Exception:  # noqa: BLE001 - as logging's own handlers
            self.handleError(record)


def say(line: str) -> None:
    """Write a line as it is."""
    _writer.put(f"{line}\n")


def flush() -> None:
    """Wait a moment for what was written to be out."""
    _writer.flush(_FLUSH_SECONDS)


def set_up(error_log: str = "-") -> None:
    """Log to standard error, which with `error_log` becomes that file, for this process and all it starts.

    Raises:
        BuchnerError: The file cannot be opened.
    """
    global _error_log, _terminal  # noqa: PLW0603 - standard error is the process's own global
    if not logger.handlers:
        handler = _Handler()
        handler.setFormatter(LineFormatter())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    if error_log not in ("-", "stderr"):
        _error_log = error_log
        _terminal = _terminal or os.dup(sys.stderr.fileno())
        reopen()


def give_back() -> None:
    """Make standard error what it was, for whoever waits for the start and has to be told why it failed."""
    flush()
    if _terminal is not None:
        sys.stderr.flush()
        os.dup2(_terminal, sys.stderr.fileno())


def record_failure(error: BuchnerError, default: str | None = None) -> None:
    """Note in the error log, if that is a file, why the start failed; standard error is told by the command line.

    Args:
        error: Why.
        default: The error log while no configuration has said one.
    """
    if _error_log is None and default not in (None, "-", "stderr"):
        with contextlib.suppress(BuchnerError):
            set_up(str(default))
    if _error_log is not None:
        for problem in error.problems if isinstance(error, ConfigError) else [error]:
            logger.critical("%s", str(problem).partition("\n")[0])
    give_back()


def leave_terminal() -> None:
    """Close what is kept of the terminal: the service serves."""
    global _terminal  # noqa: PLW0603 - see set_up
    if _terminal is not None:
        os.close(_terminal)
        _terminal = None


def reopen() -> bool:
    """Open the error log again by its name; False where it is no file.

    Raises:
        BuchnerError: It cannot be opened; the one that is open stays.
    """
    if _error_log is None:
        return False
    try:
        fd = os.open(_error_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise BuchnerError(f"error_log: {_error_log} cannot be opened: {error.strerror}") from error
    flush()
    sys.stderr.flush()
    os.dup2(fd, sys.stderr.fileno())
    os.close(fd)
    return True


def prepare(paths: Iterable[str], identity: Identity | None) -> None:
    """Make access logs exist and belong to the gateway's user, which may not create files where logs are kept."""
    if identity is None:
        return
    for path in paths:
        if path in ("-", "stdout", "stderr") or path.startswith("/dev/"):
            continue
        try:
            fd = os.open(path, _PREPARE, 0o644)
        except OSError as error:
            if error.errno == errno.ENXIO:
                continue  # a pipe that nobody reads yet is its maker's business
            logger.warning("access log %s cannot be opened: %s", path, error.strerror)
            continue
        try:
            os.fchown(fd, identity.uid, identity.gid)
        finally:
            os.close(fd)
