"""Bodies of any size that are never held whole: a server, a client, and the memory of those in between."""

from __future__ import annotations

import http.client
import http.server
import threading
import time
import zlib
from typing import TYPE_CHECKING, Self

from helpers.instance import private_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = bytes(range(256)) * 4096
"""A mebibyte; bodies repeat it."""


def checksum(pieces: int) -> str:
    """Length and CRC-32 of so many pieces."""
    crc = 0
    for _ in range(pieces):
        crc = zlib.crc32(PIECE, crc)
    return f"{pieces << 20} {crc}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        pieces = int(self.path.rsplit("pieces=")[1])
        self.send_response(200)
        self.send_header("Content-Length", str(pieces << 20))
        self.end_headers()
        for _ in range(pieces):
            self.wfile.write(PIECE)

    def do_POST(self) -> None:
        size, crc = 0, 0
        for left in self._lengths():
            while left and (data := self.rfile.read(min(left, 65536))):
                left -= len(data)  # noqa: PLW2901
                size, crc = size + len(data), zlib.crc32(data, crc)
        body = f"{size} {crc}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _lengths(self) -> Iterator[int]:
        if "content-length" in self.headers:
            yield int(self.headers["content-length"])
            return
        while length := int(self.rfile.readline(), 16):
            yield length
            self.rfile.readline()
        self.rfile.readline()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class BigServer:
    """An HTTP server: GET /?pieces=N gives so many pieces, POST answers with the length and checksum it got."""

    def __init__(self) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        self._server.shutdown()
        self._server.server_close()


def upload(port: int, target: str, pieces: int, *, chunked: bool) -> str:
    """Send a body of so many pieces; returns the answer's."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {} if chunked else {"Content-Length": str(pieces << 20)}
    connection.request("POST", target, (PIECE for _ in range(pieces)), headers, encode_chunked=chunked)
    answer = connection.getresponse()
    try:
        return answer.read().decode()
    finally:
        connection.close()


def download(port: int, target: str, *, slowly: bool) -> str:
    """Read a body; returns its length and checksum. `slowly` gives whoever sends time to buffer what it can."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", target)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    if slowly:
        time.sleep(1)
    size, crc = 0, 0
    while data := answer.read(1 << 16):
        size, crc = size + len(data), zlib.crc32(data, crc)
    connection.close()
    return f"{size} {crc}"


class Growth:
    """How many bytes of private memory each process grows by, at most, between entering and leaving."""

    def __init__(self, pids: list[int]) -> None:
        self._before = {pid: private_memory(pid) for pid in pids}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.by_pid = dict.fromkeys(pids, 0)

    def _look(self) -> None:
        while not self._over.wait(0.005):
            for pid, before in self._before.items():
                self.by_pid[pid] = max(self.by_pid[pid], private_memory(pid) - before)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
