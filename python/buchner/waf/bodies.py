"""Bodies of requests on their way to a WSGI app."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator


class Joined(io.RawIOBase):
    """A body of which the beginning was kept, and the rest is still to come."""

    def __init__(self, kept: BinaryIO, source: Any, left: int | None) -> None:
        self.kept, self.source, self.left = kept, source, left

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what was kept, then the rest."""
        size = len(buffer)
        data = self.kept.read(size)
        if not data:
            data = self.source.read(size if self.left is None else min(size, self.left)) if self.left != 0 else b""
            self.left = None if self.left is None else self.left - len(data)
        buffer[: len(data)] = data
        return len(data)


class Recorder:
    """The app's `wsgi.input`, with what it reads kept up to a limit."""

    def __init__(self, source: Any, limit: int) -> None:
        self.source, self.limit = source, limit
        self.seen = bytearray()

    def _keep(self, data: bytes) -> bytes:
        room = self.limit + 1 - len(self.seen) if self.limit else 0
        self.seen += data[: max(room, 0)]
        return data

    def read(self, *size: int) -> bytes:
        """Read as the source does."""
        return self._keep(self.source.read(*size))

    def readline(self, *size: int) -> bytes:
        """Read a line."""
        return self._keep(self.source.readline(*size))

    def readlines(self, *hint: int) -> list[bytes]:
        """Read lines."""
        return [self._keep(line) for line in self.source.readlines(*hint)]

    def __iter__(self) -> Iterator[bytes]:
        return map(self._keep, self.source)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)
