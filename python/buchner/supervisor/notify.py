"""Telling systemd how the service is (sd_notify(3)): a datagram to the socket in NOTIFY_SOCKET."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Speaks to the service manager; where there is none, each call does nothing.

    Args:
        environ: Where NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are looked up.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._watchdog_usec = 0
        if environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            with contextlib.suppress(ValueError):
                self._watchdog_usec = int(environ.get("WATCHDOG_USEC", "0"))

    @property
    def watchdog_seconds(self) -> float | None:
        """How often `watchdog` has to be called: half the time the manager waits; None when it does not."""
        if not self._address or self._watchdog_usec <= 0:
            return None
        return self._watchdog_usec / 2e6

    def send(self, **fields: str) -> None:
        """Send fields such as `STATUS="serving"`; a manager that does not listen is nobody's problem."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        text = "\n".join(f"{name}={value}" for name, value in fields.items())
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)  # a manager that does not read must not hold the supervisor
            sock.connect(address)
            sock.send(text.encode())

    def ready(self, status: str) -> None:
        """The service serves (also: again, after a reload or an upgrade)."""
        self.send(READY="1", MAINPID=str(os.getpid()), STATUS=status)

    def reloading(self) -> None:
        """A reload has begun (Type=notify-reload wants the time of it)."""
        self.send(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1000), STATUS="reloading")

    def stopping(self) -> None:
        """The service finishes its requests."""
        self.send(STOPPING="1", STATUS="draining")

    def watchdog(self) -> None:
        """The supervisor's loop still turns."""
        self.send(WATCHDOG="1")
