"""The slots of a worker over real sockets: requests and their environ, several gateways, claims, the end."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest

from buchner import _native
from slot_driver import ABORT, BODY, COMPLETE, SKIPPED, STOP, Environ, Gateway, Start, frame, hello, plain, request

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_requests_that_wait_are_answered_in_order(serve_slots: Any) -> None:
    def app(environ: Environ, start: Start) -> list[bytes]:
        plain(start)
        return [environ["PATH_INFO"].encode()]

    peer = serve_slots(app).peers[0]
    peer.send(b"".join(request(f"/{n}") for n in range(50)))
    assert [peer.answer().body for _ in range(50)] == [f"/{n}".encode() for n in range(50)]


def test_a_request_may_come_byte_by_byte(serve_slots: Any) -> None:
    peer = serve_slots(hello).peers[0]
    for byte in request(body=b"x"):
        peer.send(bytes([byte]))
    assert peer.answer().body == b"hello"


def test_the_environ_is_as_pep_3333_says(serve_slots: Any) -> None:
    seen: Environ = {}

    def app(environ: Environ, start: Start) -> list[bytes]:
        seen.update(environ)
        return hello(environ, start)

    serve_slots(app, 2).ask("/caf\u00c3\u00a9", headers=[("HTTP_X_OWN", "\u00fcber")])
    assert type(seen) is dict
    assert seen["PATH_INFO"] == "/caf\u00c3\u00a9"
    assert seen["HTTP_X_OWN"] == "\u00fcber"
    assert seen["wsgi.version"] == (1, 0)
    assert (seen["wsgi.multithread"], seen["wsgi.multiprocess"], seen["wsgi.run_once"]) == (True, True, False)
    assert seen["wsgi.input_terminated"] is True
    assert seen["wsgi.input"].read() == b""
    assert seen["wsgi.url_scheme"] == "http"


def test_one_request_leaves_nothing_in_the_next_environ(serve_slots: Any) -> None:
    seen: list[Environ] = []

    def app(environ: Environ, start: Start) -> list[bytes]:
        environ["mine"] = 1
        seen.append(dict(environ))
        return hello(environ, start)

    gateway = serve_slots(app)
    gateway.ask("/a", headers=[("HTTP_X_OWN", "1")])
    gateway.ask("/b")
    assert seen[1]["PATH_INFO"] == "/b"
    assert "HTTP_X_OWN" not in seen[1]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_wsgiref_validate_finds_nothing(serve_slots: Any, method: str) -> None:
    def app(environ: Environ, start: Start) -> list[bytes]:
        body = environ["wsgi.input"].read(5)
        plain(start, ("Content-Length", "5"))
        return [] if method == "HEAD" else [body or b"empty"]

    answer = serve_slots(validator(app)).ask(method=method, body=b"hello" if method == "POST" else b"")
    assert (answer.status, answer.flags) == (200, COMPLETE)
    assert answer.body == {"GET": b"empty", "HEAD": b"", "POST": b"hello"}[method]


def test_a_request_that_was_taken_back_is_skipped(serve_slots: Any) -> None:
    gateway = serve_slots(hello)
    struct.pack_into("<II", gateway.claims, 0, 5 << 2 | 1, 5 << 2 | 3)
    peer = gateway.peers[0]
    peer.send(request(claim=(0, 5)) + request(claim=(1, 5)) + request(claim=(0, 4)) + request())
    assert [peer.answer().kind for _ in range(3)] == [16, SKIPPED, SKIPPED]
    assert peer.answer().body == b"hello"
    assert struct.unpack_from("<I", gateway.claims) == (5 << 2 | 2,)


def test_a_request_that_was_taken_back_is_skipped_though_the_next_one_hangs(serve_slots: Any) -> None:
    go = threading.Event()

    def hangs(environ: Environ, start: Start) -> Any:
        go.wait(20)
        return hello(environ, start)

    gateway = serve_slots(hangs)
    struct.pack_into("<I", gateway.claims, 0, 5 << 2 | 3)
    peer = gateway.peers[0]
    peer.send(request(claim=(0, 5)) + request())
    try:
        assert peer.answer().kind == SKIPPED
    finally:
        go.set()
    assert peer.answer().body == b"hello"


def test_an_endless_answer_that_nobody_wants_is_stopped(serve_slots: Any) -> None:
    ended = threading.Event()

    def app(environ: Environ, start: Start) -> Any:
        return endless(start) if environ["PATH_INFO"] == "/endless" else hello(environ, start)

    def endless(start: Start) -> Iterator[bytes]:
        plain(start)
        try:
            while True:
                yield b"x" * 1000
        finally:
            ended.set()

    peer = serve_slots(app).peers[0]
    peer.send(request("/endless"))
    assert peer.frame().status == 200
    peer.send(request("/") + frame(STOP, struct.pack("<I", 1)))
    assert ended.wait(5) or peer.answer()
    while (last := peer.frame()).kind == BODY:
        pass
    assert last.kind == ABORT
    assert peer.answer().body == b"hello"


def test_a_gateway_that_ends_costs_the_slot_nothing(serve_slots: Any) -> None:
    gateway = serve_slots(hello, 2, 2)
    for peer in gateway.peers:
        peer.sock.close()
    gateway.peers.clear()
    gateway.attach()
    for peer in gateway.peers:
        peer.send(request())
        assert peer.answer().body == b"hello"


def test_two_gateways_are_served_side_by_side(serve_slots: Any) -> None:
    gateway = serve_slots(hello)
    gateway.attach()
    for _ in range(3):
        for peer in gateway.peers:
            peer.send(request())
        assert [peer.answer().body for peer in gateway.peers] == [b"hello"] * 2


def test_max_requests_is_told_once_and_serving_goes_on(serve_slots: Any) -> None:
    told: list[str] = []
    gateway = serve_slots(hello, max_requests=2, on_recycle=told.append)
    for _ in range(4):
        gateway.ask()
    assert len(told) == 1
    assert "max_requests" in told[0]


def test_slots_are_python_threads(serve_slots: Any) -> None:
    def app(_environ: Environ, start: Start) -> list[bytes]:
        plain(start)
        return [threading.current_thread().name.encode()]

    assert serve_slots(app).ask().body == b"slot-0"


def test_stop_lets_a_running_request_finish() -> None:
    entered = threading.Event()

    def app(environ: Environ, start: Start) -> list[bytes]:
        entered.set()
        time.sleep(0.2)
        return hello(environ, start)

    gateway = Gateway(app)
    gateway.peers[0].send(request())
    assert entered.wait(5)
    assert gateway.slots.stop(0.01) is False
    assert gateway.slots.stop(5) is True
    assert gateway.peers[0].answer().body == b"hello"
    gateway.close()


def test_a_wrong_attach_is_refused() -> None:
    slots = _native.Slots(hello, 1)
    memfd = os.memfd_create("claims")
    os.ftruncate(memfd, 4096)
    pairs = [socket.socketpair() for _ in range(2)]
    with pytest.raises(ValueError, match="1 slots"):
        slots.attach(memfd, [theirs.detach() for _ours, theirs in pairs], 0, 1)
    for ours, _theirs in pairs:
        assert ours.recv(1) == b""
        ours.close()
