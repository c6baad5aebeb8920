"""An HTTP upstream for proxies: notes the bytes of each request and answers as it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from helpers.gateway import hold
from helpers.raw import Raw

Script = Callable[[socket.socket, bytes], bool]
"""Answers one request, given its head; returns whether the connection lives on."""


def answer(body: bytes = b"hello", *fields: str) -> Script:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *fields]

    def script(connection: socket.socket, _head: bytes) -> bool:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return True

    return script


def exactly(data: bytes) -> Script:
    """Send these bytes and close."""

    def script(connection: socket.socket, _head: bytes) -> bool:
        connection.sendall(data)
        return False

    return script


class Upstream:
    """Serves on a free port until closed.

    `heads` are the request heads, `connections` is how many connections were accepted, `open` are those still there.
    """

    def __init__(self, script: Script, host: str = "127.0.0.1", port: int = 0) -> None:
        self.script = script
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.open: set[socket.socket] = set()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.port = port or hold(0, host)  # nobody else's either once this is closed
        self.listener = socket.create_server((host, self.port), family=family)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
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
        raw = Raw.__new__(Raw)
        raw.socket, raw.buffer = connection, b""
        self.open.add(connection)
        with connection:
            try:
                while True:
                    head = raw._until(b"\r\n\r\n")
                    self.heads.append(head)
                    self.bodies.append(_body(raw, head))
                    if not self.script(connection, head):
                        return
            except (EOFError, OSError):
                return
            finally:
                self.open.discard(connection)


def _body(raw: Raw, head: bytes) -> bytes:
    fields = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    }
    if fields.get("transfer-encoding") == "chunked":
        return raw._chunked()
    return raw._exactly(int(fields.get("content-length", "0")))
