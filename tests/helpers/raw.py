"""A client that sends the bytes it is told to and reports the bytes that came."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


@dataclass(frozen=True)
class Reply:
    """A response as it came: the field names are in lower case, in the order sent."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.fields if key == name), None)


class Raw:
    """A connection. Reading past the end of the stream raises EOFError."""

    def __init__(self, port: int, timeout: float = 15.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.buffer = b""
        self.trailers: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def send(self, data: bytes | str) -> None:
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def reply(self, method: str = "GET") -> Reply:
        """Read one response, framed as RFC 9112 section 6.3 says; interim ones are returned like others."""
        head = self._until(b"\r\n\r\n").decode("latin-1")
        line, *lines = head[:-4].split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) ?.*", line)
        assert match, f"not a status line: {line!r}"
        fields = _fields(lines)
        self.trailers = []
        body = self._body(method, int(match[1]), dict(fields))
        return Reply(int(match[1]), fields, body, self.trailers)

    def closed(self) -> bool:
        """Whether the server ends the connection without sending more (a reset counts)."""
        try:
            return not self.buffer and self.socket.recv(65536) == b""
        except ConnectionResetError:
            return True

    def _body(self, method: str, status: int, fields: dict[str, str]) -> bytes:
        if method == "HEAD" or status < 200 or status in (204, 304):
            return b""
        if fields.get("transfer-encoding") == "chunked":
            return self._chunked()
        if "content-length" in fields:
            return self._exactly(int(fields["content-length"]))
        while self._more():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def _chunked(self) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            body += self._exactly(size)
            assert self._exactly(2) == b"\r\n"
        lines = []
        while (line := self._until(b"\r\n")) != b"\r\n":
            lines.append(line.decode("latin-1"))
        self.trailers = _fields(lines)
        return body

    def _more(self) -> bool:
        data = self.socket.recv(65536)
        self.buffer += data
        return bool(data)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            if not self._more():
                raise EOFError(f"the server closed the connection after {self.buffer!r}")
        return self._exactly(self.buffer.index(mark) + len(mark))

    def _exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            if not self._more():
                raise EOFError(f"{count - len(self.buffer)} bytes of a body are missing")
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data


def _fields(lines: list[str]) -> list[tuple[str, str]]:
    return [(name.lower(), value.strip()) for name, _, value in (one.partition(":") for one in lines)]


def ask(port: int, request: bytes | str, method: str = "GET") -> Reply:
    """Send one request on a connection of its own and read the response."""
    with Raw(port) as raw:
        raw.send(request)
        return raw.reply(method)
