"""Answers that are kept back to leave with the next one: when they do, and that none waits for a slow request."""

from __future__ import annotations

import socket
import struct
import threading
from typing import Any

from slot_driver import (
    COMPLETE,
    FAILED,
    REQUEST_BODY,
    REQUEST_END,
    SKIPPED,
    STREAMED,
    Peer,
    frame,
    request,
)  # fmt: skip

Environ = dict[str, Any]


def path(environ: Environ, start: Any) -> list[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


def frames_in_messages(peer: Peer, count: int) -> list[int]:
    """How many frames each message holds, until there were `count` (the sockets keep the borders of messages)."""
    found: list[int] = []
    while sum(found) < count:
        message, frames = peer.sock.recv(1 << 16), 0
        while message:
            (length,) = struct.unpack_from("<I", message)
            message, frames = message[8 + length :], frames + 1
        found.append(frames)
    return found


def test_answers_to_requests_that_are_there_already_leave_together(serve_slots: Any) -> None:
    peer = serve_slots(path, kind=socket.SOCK_SEQPACKET).peers[0]
    found: list[int] = []
    # A thread that is taken off its core for longer than an answer may wait sends it alone.
    while max(found, default=0) < 4 and len(found) < 10_000:
        peer.send(b"".join(request(f"/{n}") for n in range(16)))
        found += frames_in_messages(peer, 16)
    assert max(found) >= 4


def test_an_answer_to_what_changes_something_leaves_at_once(serve_slots: Any) -> None:
    peer = serve_slots(path, kind=socket.SOCK_SEQPACKET).peers[0]
    for _ in range(50):
        peer.send(request(method="POST") * 8)
        assert frames_in_messages(peer, 8) == [1] * 8


def test_no_answer_waits_for_a_request_that_takes_its_time(serve_slots: Any) -> None:
    go = threading.Event()

    def app(environ: Environ, start: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            go.wait(20)
        return path(environ, start)

    peer = serve_slots(app).peers[0]
    for _ in range(5):
        go.clear()
        peer.send(request("/1") + request("/2") + request("/slow") + request("/3"))
        # The peer's patience is shorter than the app's.
        assert [peer.answer().body for _ in range(2)] == [b"/1", b"/2"]
        go.set()
        assert [peer.answer().body for _ in range(2)] == [b"/slow", b"/3"]


def test_no_answer_waits_for_a_body_that_is_still_to_come(serve_slots: Any) -> None:
    def app(environ: Environ, start: Any) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        return [environ["wsgi.input"].read()]

    peer = serve_slots(app).peers[0]
    for _ in range(5):
        peer.send(request("/1") + request("/2", "POST", flags=STREAMED, length=3))
        assert peer.answer().body == b""
        peer.send(frame(REQUEST_BODY, b"abc") + frame(REQUEST_END))
        assert peer.answer().body == b"abc"


def test_the_order_is_kept_whatever_comes_behind(serve_slots: Any) -> None:
    def app(environ: Environ, start: Any) -> Any:
        if environ["PATH_INFO"] == "/fails":
            raise RuntimeError("on purpose")
        path(environ, start)
        if environ["PATH_INFO"] == "/streams":
            return iter([b"a" * 70_000, b"b"])
        return [environ["PATH_INFO"].encode()]

    gateway = serve_slots(app)
    peer = gateway.peers[0]
    for ticket in range(1, 20):
        struct.pack_into("<I", gateway.claims, 0, ticket << 2 | 3)
        asked = ["/1", "/fails", "/2", "/streams", "/3"]
        taken_back = request("/never", claim=(0, ticket))
        peer.send(b"".join(request(target) for target in asked) + taken_back + request("/4", "POST"))
        answers = [peer.answer() for _ in range(7)]
        assert [answer.status for answer in answers] == [200, 500, 200, 200, 200, 0, 200]
        assert answers[1].flags == COMPLETE | FAILED
        assert answers[3].body == b"a" * 70_000 + b"b"
        assert [answers[n].body for n in (0, 2, 4, 6)] == [b"/1", b"/2", b"/3", b"/4"]
        assert answers[5].kind == SKIPPED


def test_answers_that_fill_the_socket_wait_until_they_are_read(serve_slots: Any) -> None:
    def app(_environ: Environ, start: Any) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        return [b"x" * 20_000]

    peer = serve_slots(app).peers[0]
    sender = threading.Thread(target=peer.send, args=(request() * 200,))
    sender.start()
    assert all(peer.answer().body == b"x" * 20_000 for _ in range(200))
    sender.join()
    # Nothing more is to come; the slot is as before.
    peer.send(request())
    assert len(peer.answer().body) == 20_000


def test_two_threads_of_a_gateway_get_their_answers_each(serve_slots: Any) -> None:
    gateway = serve_slots(path, 1, 2)
    one, two = gateway.peers
    for _ in range(50):
        one.send(b"".join(request(f"/one{n}") for n in range(10)))
        two.send(b"".join(request(f"/two{n}") for n in range(10)))
        assert [one.answer().body for _ in range(10)] == [f"/one{n}".encode() for n in range(10)]
        assert [two.answer().body for _ in range(10)] == [f"/two{n}".encode() for n in range(10)]
