"""A CGI upstream: speaks uwsgi, SCGI and FastCGI, notes each request, and responds as it is told.

It reads what it is sent by the documents of these protocols and knows nothing of the gateway's own readers.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from helpers.gateway import hold

_SCGI_DIGITS = b"0123456789"
_BEGIN, _END, _PARAMS, _STDIN, _STDOUT, _STDERR = 1, 3, 4, 5, 6, 7


@dataclass(slots=True)
class Request:
    """A request as an application gets it.

    Args:
        protocol: ``uwsgi``, ``scgi`` or ``fastcgi``.
        params: its variables; of several of one name the last.
        body: its body.
        modifiers: those of uwsgi.
        keep: FastCGI's application is to keep the connection.
    """

    protocol: str
    params: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    modifiers: tuple[int, int] = (0, 0)
    keep: bool = False


Script = Callable[[Request], bytes | list[tuple[int, bytes]]]
"""Makes a response: its bytes, or FastCGI records as (kind, content)."""

Talk = Callable[[socket.socket, Request], bool]
"""Responds to one request itself; returns whether the connection lives on."""


def echo(request: Request) -> bytes:
    """Respond with the variables, and the body's length."""
    body = json.dumps({"params": request.params, "body": len(request.body), "modifiers": request.modifiers}).encode()
    return b"Status: 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def record(kind: int, content: bytes, padding: int = 0) -> bytes:
    """Return a FastCGI record of request 1."""
    return struct.pack("!BBHHBx", 1, kind, 1, len(content), padding) + content + b"\0" * padding


def records(output: bytes, size: int = 8000) -> bytes:
    """Return output as FastCGI records with their end."""
    pieces = [
        record(_STDOUT, output[at : at + size], -len(output[at : at + size]) % 8) for at in range(0, len(output), size)
    ]
    return b"".join(pieces) + record(_STDOUT, b"") + record(_END, bytes(8))


class Cgi:
    """Serves on a free port, or on a Unix socket, until closed.

    `connections` is how many were accepted, `open` are those still there.

    Args:
        script: makes responses.
        path: of a Unix socket, instead of a port.
        port: one that the caller has taken by `hold`.
    """

    def __init__(self, script: Script = echo, path: str = "", port: int = 0) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.connections = 0
        self.open: set[socket.socket] = set()
        self.talk: Talk | None = None
        """Responds instead of the script."""
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.listener.listen()
        else:
            self.port = port or hold(0)
            self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self.open.add(connection)
        with connection, connection.makefile("rb") as file, contextlib.suppress(OSError, EOFError):
            lives = True
            while lives:
                request = _read(_Reader(file.read))
                self.requests.append(request)
                lives = self._respond(connection, request)
        self.open.discard(connection)

    def _respond(self, connection: socket.socket, request: Request) -> bool:
        if self.talk:
            return self.talk(connection, request)
        made = self.script(request)
        if isinstance(made, list):
            made = b"".join(record(kind, content) for kind, content in made)
        elif request.protocol == "fastcgi":
            made = records(made)
        connection.sendall(made)
        return request.keep


class _Reader:
    """Reads exactly, or raises EOFError."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def __call__(self, count: int) -> bytes:
        data = self._read(count)
        if len(data) < count:
            raise EOFError
        return data


def _read(read: _Reader) -> Request:
    first = read(1)
    if first in (bytes([digit]) for digit in _SCGI_DIGITS):
        return _scgi(read, first)
    header = read(3)
    # FastCGI begins with version 1 and BEGIN_REQUEST of request 1; the sizes of uwsgi requests here are others.
    if first == b"\x01" and header == b"\x01\x00\x01":
        return _fastcgi(read)
    return _uwsgi(read, first[0], header)


def _uwsgi(read: _Reader, modifier: int, header: bytes) -> Request:
    size, second = struct.unpack("<HB", header)
    data, at, params = read(size), 0, {}
    while at < size:
        words = []
        for _ in range(2):
            (length,) = struct.unpack_from("<H", data, at)
            words.append(data[at + 2 : at + 2 + length].decode())
            at += 2 + length
        params[words[0]] = words[1]
    body = read(int(params.get("CONTENT_LENGTH") or 0))
    return Request("uwsgi", params, body, (modifier, second))


def _scgi(read: _Reader, first: bytes) -> Request:
    digits = first
    while not digits.endswith(b":"):
        digits += read(1)
    words = read(int(digits[:-1])).decode().split("\0")
    if read(1) != b",":
        raise ValueError("the netstring has no comma")
    params = dict(zip(words[:-1:2], words[1::2], strict=True))
    if next(iter(params)) != "CONTENT_LENGTH":
        raise ValueError(f"not SCGI: {params}")
    return Request("scgi", params, read(int(params["CONTENT_LENGTH"])))


def _fastcgi(read: _Reader) -> Request:
    length, padding = struct.unpack("!HBx", read(4))
    begin = read(length + padding)
    request = Request("fastcgi", keep=bool(begin[2] & 1))
    streams = {_PARAMS: b"", _STDIN: b""}
    open_streams = [_PARAMS, _STDIN]
    while open_streams:
        version, kind, number, length, padding = struct.unpack("!BBHHBx", read(8))
        if (version, number, kind) != (1, 1, open_streams[0]):
            raise ValueError(f"not the record that is next: {version} {number} {kind}")
        content = read(length + padding)[:length]
        streams[kind] += content
        if not content:
            open_streams.pop(0)
    data, at = streams[_PARAMS], 0
    while at < len(data):
        lengths = []
        for _ in range(2):
            if data[at] < 0x80:
                lengths.append(data[at])
                at += 1
            else:
                lengths.append(struct.unpack_from("!I", data, at)[0] & 0x7FFFFFFF)
                at += 4
        name, value = data[at : at + lengths[0]], data[at + lengths[0] : at + sum(lengths)]
        request.params[name.decode()] = value.decode()
        at += sum(lengths)
    request.body = streams[_STDIN]
    return request
