"""The supervisor's event loop: one thread, readable descriptors, timers, signals.

It never waits inside native code: `signal.set_wakeup_fd` makes a signal readable, so every signal is handled here,
between two callbacks, and never in the middle of one.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import os
import selectors
import signal
import time
from collections.abc import Callable
from functools import partial
from types import FrameType

logger = logging.getLogger("buchner")


_LONGEST_WAIT = 3600.0
"""Seconds; epoll_wait(2) takes milliseconds that fit an int, which 25 days do not."""


class Timer:
    """A callback due at a time; made by `Loop.call_later`."""

    def __init__(self, loop: Loop, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback: Callable[[], None] | None = callback
        self._loop = loop

    def cancel(self) -> None:
        """Forget the callback; cancelling twice or after it ran does nothing."""
        if self.callback is not None:
            self.callback = None
            self._loop.forget(self)


class Loop:
    """Waits for descriptors, timers and signals and calls back."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._running = True
        self._signals: dict[int, Callable[[], None]] = {}
        self._wakeup: tuple[int, int] | None = None

    def watch(self, fd: int, on_ready: Callable[[int], None], events: int = selectors.EVENT_READ) -> None:
        """Call `on_ready(events)` whenever `fd` is ready; watching it again replaces callback and events."""
        try:
            self._selector.modify(fd, events, on_ready)
        except KeyError:
            self._selector.register(fd, events, on_ready)

    def unwatch(self, fd: int) -> None:
        """Stop watching; unknown descriptors are ignored."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(fd)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back once, `seconds` from now."""
        timer = Timer(self, time.monotonic() + seconds, callback)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def forget(self, timer: Timer) -> None:
        """Let go of a cancelled timer now: one that is due in a minute keeps a mebibyte of freed objects for as long.

        It was allocated among what a reload needs for a moment, and CPython frees only a whole arena of objects.
        """
        self._timers = [entry for entry in self._timers if entry[2] is not timer]
        heapq.heapify(self._timers)

    def on_signal(self, number: int, callback: Callable[[], None]) -> None:
        """Call back in the loop when the signal arrives; main thread only."""
        if self._wakeup is None:
            read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._wakeup = (read_end, write_end)
            signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
            self.watch(read_end, self._take_signals)
        self._signals[number] = callback
        signal.signal(number, _remembered_by_the_wakeup_fd)

    def _take_signals(self, _events: int) -> None:
        if self._wakeup is None:
            return
        with contextlib.suppress(BlockingIOError):
            for number in os.read(self._wakeup[0], 4096):
                callback = self._signals.get(number)
                if callback is not None:
                    callback()

    def run(self) -> None:
        """Run until `stop`, which may have come before; an exception of a callback is logged and the loop goes on."""
        while self._running:
            self.turn()

    def turn(self, longest: float | None = None) -> None:
        """Wait for something to happen, `longest` seconds at most, and call back."""
        wait = longest
        if self._timers:
            until_due = min(_LONGEST_WAIT, max(0.0, self._timers[0][0] - time.monotonic()))
            wait = until_due if wait is None else min(wait, until_due)
        for key, events in self._selector.select(wait):
            if key.fd in self._selector.get_map():
                _guarded(partial(key.data, events))
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                _guarded(callback)

    def stop(self) -> None:
        """Make `run` return after this turn."""
        self._running = False

    def close(self) -> None:
        """Give signals back their default actions and close the loop's descriptors."""
        for number in self._signals:
            signal.signal(number, signal.SIG_DFL)
        if self._wakeup is not None:
            signal.set_wakeup_fd(-1)
            for fd in self._wakeup:
                os.close(fd)
            self._wakeup = None
        self._selector.close()


def _remembered_by_the_wakeup_fd(_number: int, _frame: FrameType | None) -> None:
    """A Python handler is what makes CPython write to the wake-up descriptor; there is nothing else to do in it."""


def _guarded(callback: Callable[[], None]) -> None:
    """Keep the supervisor alive through a defect in one of its callbacks: its children are serving requests."""
    try:
        callback()
    except Exception:
        logger.exception("internal error in the supervisor; it goes on")
