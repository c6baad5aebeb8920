"""Heads that are refused: a line in the access log for each, as nginx writes it, and one with the reason beside it."""

from __future__ import annotations

import functools
import json
import re
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from helpers.gateway import free_port
from helpers.raw import Raw
from helpers.upstream import answer
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.gateway import Gateway

LONG = b"a" * 3000
HEADS = {
    "space before the colon": (b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    "no version": (b"GET  bad\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x00\xa5\x01\r\n\r\n", 400),
    "no host": (b"GET /c HTTP/1.1\r\n\r\n", 400),
    "a quotation mark": (b'GET /"d HTTP/1.1\r\nHost : a\r\n\r\n', 400),
    "long target": (b"GET /" + LONG + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "half a head": (b"GET /e HTTP/1.1\r\nHost: a\r\n", 400),
    "half a line": (b"GE", 400),
}
TOML = """
max_target = 1024
header_timeout = "1s"
[[server]]
access_log = ["-", { path = "-", format = "json" }]
[[server.route]]
path = "/"
respond = 204
"""


def send(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := client.recv(65536):
            received += chunk
        return received


def entries(gateway: Gateway, count: int) -> tuple[list[str], list[dict[str, Any]]]:
    """The lines of both access logs, once there are so many in each."""

    def written() -> tuple[list[str], list[str]] | None:
        lines = gateway.log.splitlines()
        combined = [line for line in lines if line.startswith("127.0.0.1 - - [")]
        as_json = [line for line in lines if line.startswith("{")]
        return (combined, as_json) if len(combined) >= count and len(as_json) >= count else None

    combined, as_json = wait_for(written, f"{count} lines in each access log")
    return combined, [json.loads(line) for line in as_json]


def logged(line: str) -> tuple[str, str]:
    """Request and status of a line; of a long request the part that both buffers hold."""
    found = re.search(r'"(.*?)" (\d{3}) ', line)
    assert found, line
    return found[1][:500], found[2]


@pytest.fixture
def gateway(run_gateway: Callable[..., Gateway]) -> Gateway:
    return run_gateway(TOML)


def test_each_has_the_line_that_nginx_writes(
    gateway: Gateway, tmp_path: Path, require_peer: Callable[[str], str]
) -> None:
    peer = Nginx(require_peer("nginx"), tmp_path / "nginx")
    try:
        for data, _ in HEADS.values():
            send(peer.port, data)
            send(gateway.port, data)
        ours, _ = entries(gateway, len(HEADS))
        theirs = wait_for(lambda: peer.lines(len(HEADS)), "nginx's lines")
    finally:
        peer.stop()
    requests = [logged(line) for line in ours]
    assert requests == [logged(line) for line in theirs]
    assert [int(status) for _, status in requests] == [status for _, status in HEADS.values()]


def test_the_size_of_the_answer_and_the_reason_are_logged(gateway: Gateway) -> None:
    answer = send(gateway.port, HEADS["space before the colon"][0])
    size = len(answer.split(b"\r\n\r\n", 1)[1])
    (line,), (entry,) = entries(gateway, 1)
    assert f'"GET /a HTTP/1.1" 400 {size} "-" "-"' in line
    assert (entry["method"], entry["uri"], entry["status"], entry["bytes"]) == ("GET", "/a", 400, size)
    assert "space" in entry["error"]
    wait_for(lambda: re.search(r"400: .*, client: 127\.0\.0\.1, server: ", gateway.log), "the notice in the error log")


def test_a_head_that_does_not_come_in_time_is_logged_and_silence_is_not(gateway: Gateway) -> None:
    with Raw(gateway.port) as silent, Raw(gateway.port) as slow:
        slow.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n")
        assert slow.reply().status == 408
        with pytest.raises(EOFError):
            silent.reply()
    assert gateway.get("/").status == 204
    (first, second), _ = entries(gateway, 2)
    assert '"GET /slow HTTP/1.1" 408 ' in first
    assert '"GET / HTTP/1.1" 204 0 ' in second


def test_what_is_not_done_here_is_logged(gateway: Gateway) -> None:
    send(gateway.port, b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
    send(gateway.port, b"PUT /x HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n")
    (connect, expect), _ = entries(gateway, 2)
    assert '"CONNECT a:443 HTTP/1.1" 405 ' in connect
    assert '"PUT /x HTTP/1.1" 417 ' in expect


class Nginx:
    """An nginx with the same limits, in the foreground."""

    def __init__(self, program: str, directory: Path) -> None:
        directory.mkdir()
        self.port = free_port()
        self.log = directory / "access.log"
        conf = directory / "nginx.conf"
        conf.write_text(
            f"daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log; events {{}}\n"
            f"http {{ access_log {self.log} combined; large_client_header_buffers 2 1k; client_header_timeout 1s;\n"
            f"server {{ listen 127.0.0.1:{self.port}; location / {{ return 204; }} }} }}\n"
        )
        self.process = subprocess.Popen([program, "-p", str(directory), "-c", str(conf)])
        wait_for(self._answers, "nginx listens")

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def lines(self, count: int) -> list[str] | None:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return lines if len(lines) >= count else None

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


PAGES = """
server {
    listen 127.0.0.1:PORT;
    error_page 400 414 405 501 505 /own.html;
    error_page 494 /large.html;
    location = /own.html { return 200 "own $status $request_method $uri $args"; }
    location = /large.html { return 200 "large $status"; }
    location / { return 200 x; }
}
"""
PROXIED = """
server {
    listen 127.0.0.1:PORT;
    error_page 400 /up/page;
    error_page 414 @named;
    location /up/ { proxy_pass http://127.0.0.1:UPSTREAM; }
    location @named { return 200 named; }
    location / { return 200 x; }
}
"""
H = b"Host: a\r\n"
WITH_PAGE = [
    b"GET /a%zz?b HTTP/1.1\r\n" + H + b"X: y\r\n\r\n",
    b"GET /../x HTTP/1.1\r\n" + H + b"\r\n",
    b"GET / HTTP/1.1\r\n" + H + H + b"\r\n",
    b"POST / HTTP/1.1\r\n\r\n",
    b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\n" + H + b"\r\n",
    b"GET / HTTP/1.1\r\n" + H + b"X: " + b"a" * 40000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + H + b"X: a\r\n" * 2000 + b"\r\n",
    b"garbage\r\n\r\n",
    b"GET / HTTP/2.0\r\n" + H + b"\r\n",
    b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: foo\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
    b"TRACE / HTTP/1.1\r\n" + H + b"X: y\r\n\r\n",
]


def refused(port: int, request: bytes) -> tuple[int, bytes, str | None] | None:
    try:
        with Raw(port) as raw:
            raw.send(request)
            reply = raw.reply()
            assert raw.closed()
            return reply.status, reply.body.strip(), reply.get("connection")
    except ConnectionResetError:
        return None


def test_error_pages_are_for_refused_heads_too(run_pair: Callable[[str], Any]) -> None:
    pair = run_pair(PAGES)
    for request in WITH_PAGE:
        # nginx closes at once, and its reset may overtake what it sent.
        theirs = wait_for(functools.partial(refused, pair.nginx.port, request), "nginx's page")
        ours = refused(pair.buchner.port, request)
        assert ours == theirs, request[:60]
        assert theirs[1].startswith((b"own", b"large")), request[:60]


def test_what_cannot_be_read_reaches_no_other_server(run_conf: Callable[[str], Any], run_upstream: Any) -> None:
    upstream = run_upstream(answer(b"page"))
    server = run_conf(PROXIED.replace("UPSTREAM", str(upstream.port)))
    with Raw(server.port) as raw:
        raw.send(b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n")
        reply = raw.reply()
        assert (reply.status, b"400 Bad Request" in reply.body) == (400, True)
        assert raw.closed()
    assert upstream.heads == []
