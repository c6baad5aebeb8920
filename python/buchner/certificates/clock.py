"""The time, so that tests can let an hour pass."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time and waiting."""

    def now(self) -> float:
        """Unix time in seconds."""

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            Interrupted: It is over.
        """


class Interrupted(Exception):  # noqa: N818 - not a fault
    """The keeper stops; what waits gives up."""


class WallClock:
    """The machine's clock.

    Args:
        over: Set when nobody is to wait any more.
    """

    def __init__(self, over: threading.Event | None = None) -> None:
        self.over = over or threading.Event()

    def now(self) -> float:
        """See `Clock`."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        if self.over.wait(seconds):
            raise Interrupted
