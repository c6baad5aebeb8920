"""How a listening socket is opened: the options of an address that are the kernel's."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from buchner.config import units

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 0x7FFFFFFF


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Probes of connections on which nothing moves (tcp(7)).

    Args:
        on: they are sent.
        idle: seconds of silence until the first; the system's where absent.
        interval: seconds between two.
        count: so many without an answer end the connection.

    """

    on: bool = True
    idle: int | None = None
    interval: int | None = None
    count: int | None = None

    @classmethod
    def read(cls, text: str) -> KeepAlive:
        """Read ``on``, ``off`` or ``idle:interval:count``, each of which may be empty.

        Raises:
            ValueError: it is none of these.

        """
        if text in ("on", "off"):
            return cls(on=text == "on")
        parts = text.split(":")
        if not any(parts) or len(parts) > len(fields(cls)) - 1:
            raise ValueError("on, off or idle:interval:count, such as 30m::10")
        idle, interval, count = [*parts, "", ""][:3]
        return cls(True, _seconds(idle), _seconds(interval), _number(count) if count else None)


def _seconds(text: str) -> int | None:
    return max(1, units.milliseconds(text) // 1000) if text else None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= _MOST):
        raise ValueError("a number from 1")
    return int(text)


def _queue(text: str) -> int:
    return 0 if text == "0" else _number(text)


def _size(text: str) -> int:
    return min(units.size(text), _MOST)


def _off(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError("on or off")
    return text == "on"


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """The options of one listening socket, under nginx's names.

    Args:
        backlog: connections that wait to be accepted (listen(2)).
        rcvbuf: bytes of the receive buffer (``SO_RCVBUF``).
        sndbuf: bytes of the send buffer (``SO_SNDBUF``).
        fastopen: connections that may wait for their handshake while their data is taken (``TCP_FASTOPEN``, RFC 7413).
        so_keepalive: probes of silent connections.
        ipv6only: an IPv6 address takes no IPv4 clients.
        deferred: connections are accepted when the client has sent something (``TCP_DEFER_ACCEPT``).
        reuseport: other programs of the same user may listen on the same address (``SO_REUSEPORT``).
        multipath: clients may use several paths (Multipath TCP, RFC 8684).

    """

    backlog: int | None = None
    rcvbuf: int | None = None
    sndbuf: int | None = None
    fastopen: int | None = None
    so_keepalive: KeepAlive | None = None
    ipv6only: bool = True
    deferred: bool = False
    reuseport: bool = False
    multipath: bool = False


FLAGS = ("deferred", "reuseport", "multipath")
"""Options without a value."""

VALUES: dict[str, Callable[[str], object]] = {
    "backlog": _number,
    "rcvbuf": _size,
    "sndbuf": _size,
    "fastopen": _queue,
    "so_keepalive": KeepAlive.read,
    "ipv6only": _off,
}
"""Options with a value, and what reads it."""
