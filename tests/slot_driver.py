"""Plays the gateway towards a worker's slots over socket pairs (docs/worker-protocol.md)."""

from __future__ import annotations

import array
import mmap
import os
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from buchner import _native

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Start = Any
Environ = dict[str, Any]

NO_CLAIM = 0xFFFFFFFF
INLINE, SPOOLED, STREAMED, UPGRADE = 1, 2, 4, 8
COMPLETE, FILE, DETACHED, FAILED = 1, 2, 4, 8
REQUEST, REQUEST_BODY, REQUEST_END, REQUEST_ABORT, STOP = 1, 2, 3, 4, 5
RESPONSE, BODY, END, ABORT, UPGRADED, SKIPPED = 16, 17, 18, 19, 20, 21


def frame(kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack("<IBBH", len(payload), kind, 1, flags) + payload


def request(
    path: str = "/",
    method: str = "GET",
    body: bytes = b"",
    flags: int = 0,
    claim: tuple[int, int] = (NO_CLAIM, 0),
    length: int | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> bytes:
    pairs = [
        ("REQUEST_METHOD", method),
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", path),
        ("QUERY_STRING", ""),
        ("REQUEST_URI", path),
        ("RAW_URI", path),
        ("SERVER_NAME", "localhost"),
        ("SERVER_PORT", "80"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_PORT", "1234"),
        ("wsgi.url_scheme", "http"),
        ("HTTP_HOST", "localhost"),
        *headers,
    ]
    if body:
        flags |= INLINE
        pairs.append(("CONTENT_LENGTH", str(len(body))))
    payload = struct.pack("<IIQH", *claim, len(body) if length is None else length, len(pairs))
    for name, value in pairs:
        raw = value.encode("latin-1")
        payload += b"\0" + struct.pack("<B", len(name)) + name.encode("latin-1") + struct.pack("<I", len(raw)) + raw
    return frame(REQUEST, payload + body, flags)


@dataclass
class Answer:
    kind: int = 0
    flags: int = 0
    status: int = 0
    reason: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    fds: list[int] = field(default_factory=list)


class Peer:
    """The gateway's end of one slot socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(10)
        self.buffer = b""
        self.fds: list[int] = []

    def send(self, data: bytes, fd: int | None = None) -> None:
        rights = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        sent = self.sock.sendmsg([data], rights)
        if sent < len(data):  # nothing at all would be a message, too, on a socket that keeps their borders
            self.sock.sendall(data[sent:])

    def fill(self) -> None:
        data, rights, _, _ = self.sock.recvmsg(1 << 16, socket.CMSG_SPACE(64))
        for _level, _type, raw in rights:
            self.fds += array.array("i", raw).tolist()
        if not data:
            raise EOFError
        self.buffer += data

    def frame(self) -> Answer:
        while len(self.buffer) < 8 or len(self.buffer) < 8 + struct.unpack_from("<I", self.buffer)[0]:
            self.fill()
        length, kind, version, flags = struct.unpack_from("<IBBH", self.buffer)
        assert version == 1
        payload, self.buffer = self.buffer[8 : 8 + length], self.buffer[8 + length :]
        answer = Answer(kind, flags, body=payload)
        if (kind == RESPONSE and flags & (FILE | DETACHED)) or kind == UPGRADED:
            answer.fds.append(self.fds.pop(0))
        if kind == RESPONSE:
            _parse(answer, payload)
        return answer

    def answer(self) -> Answer:
        """A whole answer: the head's frame with all of the body."""
        first = self.frame()
        if first.kind != RESPONSE or first.flags & (COMPLETE | DETACHED):
            return first
        while True:
            following = self.frame()
            if following.kind != BODY:
                first.kind = following.kind
                return first
            first.body += following.body


def _parse(answer: Answer, payload: bytes) -> None:
    answer.status, reason = struct.unpack_from("<HB", payload)
    at = 3 + reason
    answer.reason = payload[3:at].decode("latin-1")
    (count,) = struct.unpack_from("<H", payload, at)
    at += 2
    for _ in range(count):
        (length,) = struct.unpack_from("<H", payload, at)
        name = payload[at + 2 : at + 2 + length].decode("latin-1")
        at += 2 + length
        (length,) = struct.unpack_from("<I", payload, at)
        answer.headers.append((name, payload[at + 4 : at + 4 + length].decode("latin-1")))
        at += 4 + length
    answer.body = payload[at:]


class Gateway:
    """A worker of `slots` threads and the other ends of its sockets."""

    def __init__(
        self,
        app: Callable[..., Any],
        slots: int = 1,
        io_threads: int = 1,
        kind: socket.SocketKind = socket.SOCK_STREAM,
        **options: Any,
    ) -> None:
        self.slots = _native.Slots(app, slots, **options)
        self.shape, self.kind = (slots, io_threads), kind
        self.peers: list[Peer] = []
        self.claims = self.attach()
        self.slots.start()

    def attach(self) -> mmap.mmap:
        slots, io_threads = self.shape
        memfd = os.memfd_create("claims", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(memfd, 4096)
        claims = mmap.mmap(memfd, 4096)
        theirs = []
        for _ in range(slots * io_threads):
            ours, worker = socket.socketpair(type=self.kind)
            self.peers.append(Peer(ours))
            theirs.append(worker.detach())
        self.slots.attach(memfd, theirs, 0, io_threads)
        return claims

    def ask(self, *args: Any, **options: Any) -> Answer:
        self.peers[0].send(request(*args, **options))
        return self.peers[0].answer()

    def close(self) -> None:
        for peer in self.peers:
            peer.sock.close()
        assert self.slots.stop(5.0)


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the state did not come"
        time.sleep(0.005)


def plain(start: Start, *extra: tuple[str, str]) -> Any:
    return start("200 OK", [("Content-Type", "text/plain"), *extra])


def hello(_environ: Environ, start: Start) -> list[bytes]:
    plain(start)
    return [b"hel", b"lo"]
