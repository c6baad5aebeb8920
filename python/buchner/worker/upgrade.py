"""The socket of a request that asks for an upgrade, under the environ keys that WebSocket libraries know."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["UpgradeSocket"]


class Upgrade(Protocol):
    """The native side: `buchner._native`'s handle of one request."""

    def begin(self, fd: int) -> bool:
        """Give the gateway the other end; takes `fd` over. False when an ordinary answer has begun."""


class UpgradeSocket(socket.socket):
    """A real socket to the client; the first bytes sent through it take the connection out of HTTP.

    An app that never sends through it (it refuses the upgrade) answers as it would any request.
    """

    _upgrade: Upgrade | None = None
    _other: socket.socket | None = None

    @classmethod
    def of_request(cls, upgrade: Upgrade) -> Self:
        """Make the socket of a request; `upgrade` is told of the first use."""
        ours, theirs = socket.socketpair()
        made = cls(ours.family, ours.type, ours.proto, fileno=ours.detach())
        made._upgrade, made._other = upgrade, theirs
        return made

    def _begin(self) -> None:
        upgrade, other = self._upgrade, self._other
        if upgrade is None or other is None:
            return
        self._upgrade = self._other = None
        if not upgrade.begin(other.detach()):
            self.close()
            raise OSError("the response to this request has begun already, it can't be upgraded")

    def end_request(self) -> None:
        """Close both ends: the request is over."""
        if self._other is not None:
            self._other.close()
        self._upgrade = self._other = None
        self.close()

    def send(self, data: Any, flags: int = 0, /) -> int:
        """As `socket.send`; the first call upgrades."""
        if self._upgrade is not None:
            self._begin()
        return super().send(data, flags)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """As `socket.sendall`; the first call upgrades."""
        if self._upgrade is not None:
            self._begin()
        super().sendall(data, flags)

    def sendmsg(self, buffers: Iterable[Any], *args: Any) -> int:
        """As `socket.sendmsg`; the first call upgrades."""
        if self._upgrade is not None:
            self._begin()
        return super().sendmsg(buffers, *args)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """As `socket.sendfile`; the first call upgrades."""
        if self._upgrade is not None:
            self._begin()
        return super().sendfile(file, offset, count)

    def dup(self) -> socket.socket:  # type: ignore[override]  # the copy has nothing left to upgrade
        """As `socket.dup`. The copy is an ordinary socket, so the upgrade happens now."""
        if self._upgrade is not None:
            self._begin()
        return socket.socket(self.family, self.type, self.proto, fileno=socket.dup(self.fileno()))
