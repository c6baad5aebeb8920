"""Whether a connection stays is decided once; and a response that breaks off is never taken for a whole one."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from app_driver import AppGateway
from helpers.proxied import proxy
from helpers.raw import Raw
from helpers.upstream import Script, Upstream, exactly
from helpers.wait import wait_for

if TYPE_CHECKING:
    from helpers.gateway import Gateway
    from helpers.nginx import Server

Run = Callable[..., "Gateway"]
RunUpstream = Callable[[Script], Upstream]

SECOND = "GET /second HTTP/1.1\r\nHost: a\r\n\r\n"
H10 = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
H11 = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: {type}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


def until_eof(port: int, request: str) -> tuple[bytes, float]:
    """All that comes until the connection ends, and the seconds to the end; a reset raises."""
    with Raw(port, 10) as raw:
        raw.send(request)
        before = time.monotonic()
        while raw._more():
            pass
        return raw.buffer, time.monotonic() - before


CLOSING = """
server {{
    listen 127.0.0.1:PORT;
    chunked_transfer_encoding off;
    proxy_http_version 1.1;
    location / {{ {extra} proxy_pass http://127.0.0.1:{port}; }}
    location /second {{ return 200 second; }}
    location /file {{ gzip on; gzip_min_length 1; gzip_types text/plain; default_type text/plain; alias DIR/file; }}
}}
"""


@pytest.mark.parametrize("extra", ["", "proxy_buffering off;", "lingering_close off;", "lingering_close always;"])
@pytest.mark.parametrize("kind", ["text/plain", "text/event-stream"])
@pytest.mark.parametrize("more", ["", SECOND])
def test_a_body_that_ends_with_the_connection_ends_it(
    run_conf: Callable[[str], Server], run_upstream: RunUpstream, extra: str, kind: str, more: str
) -> None:
    upstream = run_upstream(exactly(CHUNKED.replace(b"{type}", kind.encode())))
    server = run_conf(CLOSING.format(extra=extra, port=upstream.port))
    came, seconds = until_eof(server.port, H11 + more)
    assert came.endswith(b"\r\n\r\nhello"), "nothing of the next response is in the body"
    assert b"Connection: close\r\n" in came
    assert seconds < 4


def test_a_packed_file_without_chunks_ends_with_the_connection(
    run_conf: Callable[[str], Server], tmp_path: Any
) -> None:
    (tmp_path / "file").write_bytes(b"hello" * 1000)
    server = run_conf(CLOSING.format(extra="", port=9))
    request = "GET /file HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"
    came, seconds = until_eof(server.port, request + SECOND)
    assert b"Content-Encoding: gzip" in came
    assert came.count(b"HTTP/1.1 200") == 1
    assert seconds < 4


@pytest.mark.parametrize("more", ["", SECOND])
def test_an_app_of_unknown_length_ends_the_connection_of_http_1_0(more: str) -> None:
    def app(_environ: dict[str, Any], start: Any) -> Any:
        start("200 OK", [("Content-Type", "text/plain")])
        return iter([b"a", b"b"])

    with AppGateway(app) as gateway:
        came, seconds = until_eof(gateway.port, H10 + more)
    head, _, body = came.partition(b"\r\n\r\n")
    assert body == b"ab"
    assert b"Connection: close" in head
    assert seconds < 4


@pytest.mark.parametrize("more", ["", SECOND])
def test_a_proxied_response_of_unknown_length_ends_the_connection_of_http_1_0(
    run_gateway: Run, run_upstream: RunUpstream, more: str
) -> None:
    upstream = run_upstream(exactly(b"HTTP/1.1 200 OK\r\n\r\nhello"))
    came, seconds = until_eof(run_gateway(proxy(upstream.port)).port, H10 + more)
    assert came.endswith(b"\r\n\r\nhello")
    assert seconds < 4


def test_where_the_length_is_known_the_connection_of_http_1_0_stays(run_gateway: Run) -> None:
    gateway = run_gateway('[[server]]\n[[server.route]]\npath = "/"\nrespond = { status = 200, body = "x" }\n')
    with Raw(gateway.port) as raw:
        for _ in range(3):
            raw.send(H10)
            reply = raw.reply()
            assert (reply.body, reply.get("connection")) == (b"x", "keep-alive")


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def breaking(head: bytes, how: str, done: threading.Event) -> Script:
    def script(connection: socket.socket, _head: bytes) -> bool:
        connection.sendall(head)
        if how == "silence":
            done.wait(20)
        else:
            time.sleep(0.1)  # so that the bytes are not overtaken by the reset
            if how == "reset":
                reset(connection)
        return False

    return script


BROKEN = [
    ("reset", b"HTTP/1.1 200 OK\r\n\r\nhello", "reset the connection"),
    ("silence", b"HTTP/1.1 200 OK\r\n\r\nhello", "stopped sending"),
    ("reset", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "reset the connection"),
    ("close", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "closed the connection"),
    ("silence", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "stopped sending"),
    ("close", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "closed the connection"),
    ("close", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz", "invalid body"),
]


@pytest.mark.parametrize(("how", "head", "cause"), BROKEN)
@pytest.mark.parametrize("buffering", ["true", "false"])
def test_a_broken_response_of_an_upstream_is_seen_to_be_incomplete(
    run_gateway: Run, run_upstream: RunUpstream, how: str, head: bytes, cause: str, buffering: str
) -> None:
    done = threading.Event()
    upstream = run_upstream(breaking(head, how, done))
    gateway = run_gateway(proxy(upstream.port, f'read_timeout = "1s"\nbuffering = {buffering}'))
    with Raw(gateway.port) as raw:
        raw.send(H11)
        with pytest.raises(EOFError):
            raw.reply()
        assert b"0\r\n\r\n" not in raw.buffer
    with Raw(gateway.port) as raw:
        raw.send(H10)
        if b"Content-Length" in head:
            with pytest.raises(EOFError):
                raw.reply()
        else:
            with pytest.raises(ConnectionResetError):
                raw.reply()
    done.set()
    wait_for(lambda: gateway.log.count("the response broke off") == 2, "the cause in the log")
    assert f"200: the response broke off: upstream 127.0.0.1:{upstream.port} " in gateway.log
    assert cause in gateway.log


def test_a_close_delimited_response_that_ended_well_is_complete(run_gateway: Run, run_upstream: RunUpstream) -> None:
    upstream = run_upstream(exactly(b"HTTP/1.0 200 OK\r\n\r\nhello"))
    gateway = run_gateway(proxy(upstream.port))
    assert gateway.ask(H11).body == b"hello"
    assert gateway.ask(H10).body == b"hello"


@pytest.mark.parametrize("framing", [b"Content-Length: 20", b"Transfer-Encoding: chunked"])
def test_the_head_of_an_upstream_that_closes_behind_it_arrives(
    run_gateway: Run, run_upstream: RunUpstream, framing: bytes
) -> None:
    upstream = run_upstream(exactly(b"HTTP/1.1 200 OK\r\nX-Own: 1\r\n" + framing + b"\r\n\r\n"))
    gateway = run_gateway(proxy(upstream.port))
    for _ in range(40):
        with Raw(gateway.port) as raw:
            raw.send(H11)
            assert b"X-Own: 1\r\n" in raw._until(b"\r\n\r\n")
            assert raw.closed()


def test_an_app_that_fails_midway_is_seen_to_be_incomplete() -> None:
    def app(_environ: dict[str, Any], start: Any) -> Any:
        start("200 OK", [("Content-Type", "text/plain")])
        yield b"hello"
        raise RuntimeError

    with AppGateway(app) as gateway:
        with Raw(gateway.port) as raw:
            raw.send(H11)
            with pytest.raises(EOFError):
                raw.reply()
        with Raw(gateway.port) as raw:
            raw.send(H10)
            with pytest.raises(ConnectionResetError):
                raw.reply()


def test_a_half_closed_event_stream_goes_on_to_its_end() -> None:
    left = threading.Event()

    def app(_environ: dict[str, Any], start: Any) -> Any:
        start("200 OK", [("Content-Type", "text/event-stream")])
        for number in range(4):
            if number:
                left.wait(0.7)
            yield b"data: %d\n\n" % number

    for request, last in [(H11, b"data: 3\n\n\r\n0"), (H10, b"data: 3\n\n")]:
        with AppGateway(app) as gateway, Raw(gateway.port) as raw:
            raw.send(request)
            raw.socket.shutdown(socket.SHUT_WR)
            reply = raw.reply()
            assert reply.body == b"".join(b"data: %d\n\n" % number for number in range(4)), last


def test_a_silent_event_stream_whose_client_has_left_ends() -> None:
    ended = threading.Event()
    stop = threading.Event()

    def app(_environ: dict[str, Any], start: Any) -> Any:
        start("200 OK", [("Content-Type", "text/event-stream")])
        try:
            yield b"data: 0\n\n"
            while not stop.wait(0.05):
                yield b""
        finally:
            ended.set()

    with AppGateway(app) as gateway:
        raw = Raw(gateway.port)
        raw.send(H11)
        raw._until(b"data: 0\n\n")
        raw.socket.close()
        try:
            wait_for(lambda: gateway.status()["responses"]["2xx"] == 1, "the end of the response")
        finally:
            stop.set()


UNREAD = """
server {
    listen 127.0.0.1:PORT;
    root DIR;
    location = /200 { return 200 T; }
    location = /404 { return 404; }
    location = /401 { auth_basic a; auth_basic_user_file DIR/none; return 200; }
    location /file { }
}
"""
POST = "POST {} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("pause", [0, 0.2])
def test_an_unread_chunked_body_is_read_off(run_pair: Callable[[str], Any], tmp_path: Any, pause: float) -> None:
    (tmp_path / "file").write_bytes(b"f")
    (tmp_path / "none").write_bytes(b"")
    pair = run_pair(UNREAD)
    for server in (pair.nginx, pair.buchner):
        for path in ("/200", "/404", "/401", "/none"):
            with Raw(server.port) as raw:
                raw.send(POST.format(path))
                time.sleep(pause)  # the body comes in a piece of its own
                raw.send("3\r\nabc\r\n0\r\n\r\nGET /200 HTTP/1.1\r\nHost: a\r\n\r\n")
                first, second = raw.reply(), raw.reply()
                assert (first.get("connection") or "keep-alive") == "keep-alive", (server.file, path)
                assert (second.status, second.body) == (200, b"T"), (server.file, path)


def test_broken_chunks_of_an_unread_body_are_refused(run_pair: Callable[[str], Any], tmp_path: Any) -> None:
    (tmp_path / "none").write_bytes(b"")
    pair = run_pair(UNREAD)
    for server in (pair.nginx, pair.buchner):
        seen = []
        for path in ("/200", "/404"):
            # A bare LF in them is taken by nginx before 1.31.
            third = "3\nabc\r\n0\r\n\r\n" if server is pair.buchner else "\r\n"
            for body in ("zz\r\n", "3\r\nabcd\r\n", third):
                with Raw(server.port) as raw:
                    raw.send(POST.format(path) + body)
                    reply = raw.reply()
                    assert raw.closed()
                    seen.append((path, reply.status, reply.get("connection")))
        assert seen == [("/200", 400, "close")] * 3 + [("/404", 404, "close")] * 3, server.file


def test_a_chunk_above_max_body_is_refused_at_its_size_line(run_gateway: Run, run_upstream: RunUpstream) -> None:
    upstream = run_upstream(exactly(b"HTTP/1.1 200 OK\r\n\r\nhello"))
    for buffering in ("true", "false"):
        gateway = run_gateway(proxy(upstream.port, f"max_body = 100\nrequest_buffering = {buffering}"))
        for size in ("65", "FFFFFFFFFFFFFFFF"):
            with Raw(gateway.port, 5) as raw:
                raw.send(POST.format("/") + f"{size}\r\n")
                assert raw.reply().status == 413
        assert gateway.ask(POST.format("/") + "64\r\n" + "x" * 100 + "\r\n0\r\n\r\n").status == 200
