"""Request bodies that are larger than an app takes or than there is room for."""

from __future__ import annotations

import os
from typing import Any

import pytest

from slot_driver import until

Environ = dict[str, Any]


def counting(environ: Environ, start: Any) -> list[bytes]:
    """Refuses by Content-Length, as Flask does; else counts what comes."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if environ["PATH_INFO"] == "/limited" and length > 1000:
        start("413 Too Large", [("Access-Control-Allow-Origin", "*")])
        return [b"the app's own page"]
    body, total = environ["wsgi.input"], 0
    while piece := body.read(100_000):
        total += len(piece)
    start("200 OK", [])
    return [f"{environ.get('CONTENT_LENGTH', 'none')} {total}".encode()]


def test_an_app_refuses_large_bodies_itself_before_they_are_read(serve_app: Any) -> None:
    gateway = serve_app(counting, max_body=0, request_buffering_max=1000)
    head = "POST /limited HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n"
    for expect in ("", "Expect: 100-continue\r\n"):
        with gateway.connect() as sock:
            sock.sendall(f"{head}{expect}\r\n".encode())
            answer = b""
            while b"own page" not in answer:
                answer += sock.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 413"), answer
        assert b"Access-Control-Allow-Origin: *" in answer
    assert gateway.ask("/limited", "POST", b"x" * 1000)[2] == b"1000 1000"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    "limits",
    [{"request_buffering_max": 100_000}, {"gateway": {"spool_max": 300_000}}, {"gateway": {"spool_dir": "/none"}}],
)
def test_a_body_that_is_not_kept_is_streamed_whole(serve_app: Any, limits: dict[str, Any], *, chunked: bool) -> None:
    gateway = serve_app(counting, **limits)
    body = os.urandom(2_000_000)
    if not chunked:
        assert gateway.ask("/", "POST", body)[2] == b"2000000 2000000"
        return
    with gateway.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(body), 50_000):
            sock.sendall(b"c350\r\n" + body[at : at + 50_000] + b"\r\n")
        sock.sendall(b"0\r\n\r\n")
        answer = b""
        while piece := sock.recv(1 << 16):
            answer += piece
    assert answer.endswith(b"none 2000000"), answer


def test_such_bodies_take_half_of_the_slots_and_their_clients_must_not_be_slow(serve_app: Any) -> None:
    gateway = serve_app(counting, slots=2, request_buffering_max=1000, body_min_rate=1 << 40)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
    with gateway.connect() as slow:
        slow.sendall(head + b"x" * 50_000)
        until(lambda: gateway.slots[0].stats()["busy"] == 1)
        status, answer, _ = gateway.ask("/", "POST", b"x" * 100_000)
        assert status == 503
        assert "Retry-After" in answer
        assert gateway.ask("/", "POST", b"x" * 1000)[0] == 200
        slow.settimeout(30)
        assert slow.recv(1 << 16).startswith(b"HTTP/1.1 408")
    assert gateway.ask("/", "POST", b"x" * 100_000)[2] == b"100000 100000"


def test_a_413_says_how_to_raise_the_limit(serve_app: Any) -> None:
    gateway = serve_app(counting, max_body=1000, gateway={"development": True})
    status, _head, body = gateway.ask("/", "POST", b"x" * 1001)
    assert status == 413
    assert b"--max-body" in body
    assert b"client_max_body_size" in body
