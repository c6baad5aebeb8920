"""Lines for standard error, written by a thread of their own: a pipe that nobody empties must not block the others."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque

_MOST_BYTES = 1 << 20
"""Bytes that wait; further lines are lost, and counted."""
_STDERR = 2


class LogWriter:
    """Hands lines to the thread, which is started with the first one, in each process anew."""

    def __init__(self, fd: int = _STDERR) -> None:
        self._fd = fd
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._lost = 0
        self._thread: threading.Thread | None = None

    def put(self, text: str) -> None:
        """Have lines written; never waits for it."""
        if self._pid != os.getpid():  # threads do not survive a fork, and its lines are the parent's
            self._forget()
        data = text.encode(errors="backslashreplace")
        with self._changed:
            if self._bytes + len(data) > _MOST_BYTES:
                self._lost += 1
                return
            self._lines.append(data)
            self._bytes += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, longest: float) -> bool:
        """Wait until everything is written, `longest` seconds at most; False when it is not."""
        if self._pid != os.getpid():
            return True
        until = time.monotonic() + longest
        with self._changed:
            while self._bytes and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            return not self._bytes

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._lines:
                    self._changed.wait()
                lines, lost = list(self._lines), self._lost
                self._lines.clear()
                self._lost = 0
            self._write(b"".join(lines))
            if lost:
                self._write(b"%d messages of the supervisor are lost: nobody read standard error\n" % lost)
            with self._changed:
                self._bytes -= sum(map(len, lines))
                self._changed.notify_all()

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                select.select([], [self._fd], [])
            except OSError:
                return  # closed, or the disk is full: there is nobody to tell
