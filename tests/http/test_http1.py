"""HTTP/1.1 over real sockets through `buchner run`: what is answered, what is refused, and with which status."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from helpers.gateway import BUCHNER, Gateway
from helpers.raw import Raw

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Gateway]

FIXED = '[[server]]\n{settings}\n[[server.route]]\npath = "/"\nrespond = {{ status = 200, body = "fixed" }}\n'


def fixed(run_gateway: Run, settings: str = "") -> Gateway:
    return run_gateway(FIXED.format(settings=settings))


REFUSED = [
    ("both lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", 400),
    ("differing lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
    ("signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
    ("chunked not last", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400),
    ("chunked in 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("folded field", "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n", 400),
    ("space before colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    ("bare CR", "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rc\r\n\r\n", 400),
    ("NUL", "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n", 400),
    ("control character", "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\x01c\r\n\r\n", 400),
    ("no Host", "GET / HTTP/1.1\r\n\r\n", 400),
    ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    ("malformed Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("malformed target", "GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("path above the root", "GET /../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("bad escape", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("not HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ("long target", f"GET /{'a' * 9000} HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    ("long field", f"GET / HTTP/1.1\r\nHost: a\r\nX-Long: {'a' * 9000}\r\n\r\n", 431),
    ("many fields", "GET / HTTP/1.1\r\nHost: a\r\n" + "X-A: b\r\n" * 200 + "\r\n", 431),
]


def test_refuses_what_is_ambiguous_and_closes(run_gateway: Run) -> None:
    gateway = fixed(run_gateway)
    wrong = []
    for name, request, status in REFUSED:
        with Raw(gateway.port) as raw:
            raw.send(request)
            reply = raw.reply()
            if reply.status != status or not raw.closed():
                wrong.append((name, reply.status, reply.body[:200]))
    assert wrong == []
    assert gateway.get().status == 200


def test_names_the_long_field(run_gateway: Run) -> None:
    reply = fixed(run_gateway).ask(f"GET / HTTP/1.1\r\nHost: a\r\nCookie: {'a' * 9000}\r\n\r\n")
    assert reply.status == 431
    assert b"cookie" in reply.body.lower()


def test_pipelined_requests_are_answered_in_order(run_gateway: Run) -> None:
    with Raw(fixed(run_gateway).port) as raw:
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 5 + "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ in range(5):
            assert raw.reply().body == b"fixed"
        head = raw.reply("HEAD")
        assert head.get("content-length") == "5"


def test_a_request_sent_byte_by_byte_is_answered(run_gateway: Run) -> None:
    with Raw(fixed(run_gateway).port) as raw:
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\n\r\n":
            raw.send(bytes([byte]))
        assert raw.reply().body == b"fixed"


@pytest.mark.parametrize(
    ("request_head", "stays"),
    [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", True),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", False),
        ("GET / HTTP/1.0\r\n\r\n", False),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_keeps_the_connection_as_asked(run_gateway: Run, request_head: str, stays: bool) -> None:
    with Raw(fixed(run_gateway).port) as raw:
        raw.send(request_head)
        assert raw.reply().status == 200
        if stays:
            raw.send(request_head)
            assert raw.reply().status == 200
        else:
            assert raw.closed()


def test_a_slow_head_is_408(run_gateway: Run) -> None:
    with Raw(fixed(run_gateway, "header_timeout = 1").port) as raw:
        raw.send("GET / HTTP/1.1\r\nHost:")
        assert raw.reply().status == 408
        assert raw.closed()


def test_a_half_closed_client_gets_its_answer(run_gateway: Run) -> None:
    with Raw(fixed(run_gateway).port) as raw:
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        raw.socket.shutdown(1)
        assert raw.reply().body == b"fixed"


def test_declared_body_above_the_limit_is_413(run_gateway: Run) -> None:
    gateway = fixed(run_gateway, 'max_body = "1k"')
    reply = gateway.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n")
    assert reply.status == 413


def test_stops_with_zero_on_sigterm(run_gateway: Run) -> None:
    gateway = fixed(run_gateway)
    assert gateway.get().status == 200
    assert gateway.stop() == 0


SINGLE = ["Authorization", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Expect", "Content-Range"]


@pytest.mark.parametrize("name", SINGLE)
def test_fields_that_readers_would_take_differently_are_there_once(run_gateway: Run, name: str) -> None:
    gateway = fixed(run_gateway)
    reply = gateway.ask(f"GET / HTTP/1.1\r\nHost: a\r\n{name}: 100-continue\r\n{name}: b\r\n\r\n")
    assert reply.status == 400
    assert name.encode() in reply.body


HOSTS = [
    (".", 400),
    ("a..b", 400),
    ("a%61", 400),
    ("intern%61l.test", 400),
    ("[v1.a:b]", 200),
    ("a.", 200),
    (".a", 200),
]


@pytest.mark.parametrize(("host", "status"), HOSTS)
def test_hosts(run_gateway: Run, host: str, status: int) -> None:
    assert fixed(run_gateway).ask(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").status == status


def test_expectations(run_gateway: Run) -> None:
    gateway = fixed(run_gateway)
    for version, expect, status in [
        ("1.0", "100-continue", 200),
        ("1.0", "other", 200),
        ("1.1", "100-continue", 200),
        ("1.1", "other", 417),
    ]:
        assert gateway.ask(f"GET / HTTP/{version}\r\nHost: a\r\nExpect: {expect}\r\n\r\n").status == status


def test_options_of_the_server_itself(run_gateway: Run) -> None:
    gateway = fixed(run_gateway)
    reply = gateway.ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    assert reply.status == 204
    assert "OPTIONS" in (reply.get("allow") or "")
    assert gateway.ask("GET * HTTP/1.1\r\nHost: a\r\n\r\n").status == 400


def test_a_method_that_nobody_knows_is_501(run_gateway: Run) -> None:
    assert fixed(run_gateway).ask(f"{'X' * 200} / HTTP/1.1\r\nHost: a\r\n\r\n").status == 501


def test_interim_statuses_are_no_answer(tmp_path: Path) -> None:
    for status in (100, 102, 199):
        file = tmp_path / "nginx.conf"
        file.write_text(f'events {{}} http {{ server {{ listen 127.0.0.1:1; return {status} "x"; }} }}')
        done = subprocess.run([*BUCHNER, "check", str(file)], capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "interim" in done.stdout + done.stderr
