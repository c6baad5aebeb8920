"""The PROXY protocol ahead of connections: nginx and Buchner on the same file, sent the same bytes."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import pytest

from helpers.nginx import Pair, Server, comparable
from helpers.raw import Raw
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HTTP = """
client_header_timeout 2s;
server {
    listen 127.0.0.1:PORT proxy_protocol;
    set_real_ip_from 127.0.0.0/8;
    real_ip_header proxy_protocol;
    location / {
        return 200 "$remote_addr $remote_port $realip_remote_addr $proxy_protocol_addr $proxy_protocol_port
$proxy_protocol_server_addr $proxy_protocol_server_port $server_port";
    }
    location /other { real_ip_header X-Real-IP; return 200 "$remote_addr $proxy_protocol_addr"; }
    location /denied { deny 192.0.2.0/24; allow all; empty_gif; }
    location /up { proxy_pass http://127.0.0.1:PORT/echo; proxy_set_header X-For $proxy_add_x_forwarded_for; }
}
server {
    listen 127.0.0.1:PORT;
    server_name believed-by-nobody;
    return 200 "$remote_addr $proxy_protocol_addr $proxy_protocol_port";
}
"""
LINE = "PROXY TCP4 192.0.2.1 198.51.100.2 8080 443\r\n"
ASK = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
V4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.2") + struct.pack(">HH", 8080, 443)
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
V6 += struct.pack(">HH", 8080, 443)
AUTHORITY = b"\x02\x00\x0cshop.example"


def binary(command: int, family: int, payload: bytes) -> bytes:
    """A header of version 2."""
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack(">BBH", command, family, len(payload)) + payload


GOOD = {
    "tcp4": LINE.encode(),
    "tcp6": b"PROXY TCP6 2001:db8::1 2001:db8::2 8080 443\r\n",
    "unknown": b"PROXY UNKNOWN\r\n",
    "unknown with more": b"PROXY UNKNOWN ffff::1 x 1 2\r\n",
    "v2 tcp4": binary(0x21, 0x11, V4),
    "v2 tcp4 with values": binary(0x21, 0x11, V4 + AUTHORITY),
    "v2 tcp6": binary(0x21, 0x21, V6),
    "v2 local": binary(0x20, 0x00, b""),
    "v2 unix": binary(0x21, 0x31, bytes(216)),
    "v2 unspecified": binary(0x21, 0x00, b""),
}
BAD = {
    "none": b"",
    "another protocol": b"PROXY UDP4 192.0.2.1 198.51.100.2 8080 443\r\n",
    "no addresses": b"PROXY TCP4\r\n",
    "no ports": b"PROXY TCP4 192.0.2.1 198.51.100.2\r\n",
    "a port too high": b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
    "a line end of its own": b"PROXY TCP4 192.0.2.1 198.51.100.2 8080 443\n",
    "too long": b"PROXY UNKNOWN " + b"x" * 5000 + b"\r\n",
    "v2 of version 3": binary(0x31, 0x11, V4),
    "v2 too short": binary(0x21, 0x11, V4[:8]),
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, require_peer: Callable[[str], str]) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("pair"), require_peer("nginx"), HTTP)
    yield pair
    pair.stop()


@pytest.mark.parametrize("header", GOOD.values(), ids=GOOD)
def test_a_header_says_who_the_client_is(pair: Pair, header: bytes) -> None:
    answers = []
    for server in (pair.nginx, pair.buchner):
        with Raw(server.port) as raw:
            own = raw.socket.getsockname()[1]
            # in one piece with the request, and once more on the same connection
            raw.send(header + ASK.encode())
            first = comparable(raw.reply(), server.port)
            raw.send(ASK)
            assert comparable(raw.reply(), server.port) == first
            answers.append(first.body.replace(str(own).encode(), b"OWN"))
    assert answers[0] == answers[1]
    if header == GOOD["tcp4"]:
        assert answers[0] == b"192.0.2.1 8080 127.0.0.1 192.0.2.1 8080\n198.51.100.2 443 PORT"


@pytest.mark.parametrize("name", ["tcp4", "v2 tcp4 with values"])
def test_a_header_may_come_in_pieces(pair: Pair, name: str) -> None:
    # nginx wants it in one piece
    with Raw(pair.buchner.port) as raw:
        raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in GOOD[name]:
            raw.send(bytes([byte]))
        raw.send(ASK)
        assert raw.reply().body.startswith(b"192.0.2.1 8080 ")


@pytest.mark.parametrize(
    "request_",
    [
        "GET /other HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /other HTTP/1.1\r\nHost: x\r\nX-Real-IP: 203.0.113.9\r\n\r\n",
        "GET /denied HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: believed-by-nobody\r\n\r\n",
        "GET /up HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n",
    ],
)
def test_what_is_done_with_it_is_the_same(pair: Pair, request_: str) -> None:
    answer = pair.same(LINE + request_)
    assert answer.status == (403 if "denied" in request_ else 502 if "/up" in request_ else 200)


@pytest.mark.parametrize("header", BAD.values(), ids=BAD)
def test_a_connection_without_a_valid_header_is_closed(pair: Pair, header: bytes) -> None:
    for server in (pair.nginx, pair.buchner):
        with Raw(server.port) as raw:
            raw.send(header + ASK.encode())
            assert raw.closed()


def test_a_header_has_its_time(pair: Pair) -> None:
    for server in (pair.nginx, pair.buchner):
        for part in (b"", b"PROXY TCP4 192.0"):
            with Raw(server.port) as raw:
                raw.send(part)
                assert raw.closed()
    assert "no complete PROXY protocol header within 2000 ms (header_timeout)" in said(pair.buchner)


def said(server: Server) -> str:
    return (server.file.parent / "error.log").read_text()


def test_the_log_says_what_came_instead(pair: Pair) -> None:
    with Raw(pair.buchner.port) as raw:
        port = raw.socket.getsockname()[1]
        raw.send("GET /stray HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.closed()
    expected = 'there is no PROXY protocol header: the connection begins with "GET /stray HTTP/1.1"; it is closed'
    place = f"client: 127.0.0.1:{port}, server: 127.0.0.1:{pair.buchner.port} (proxy_protocol)"
    wait_for(lambda: f"{expected}, {place}" in said(pair.buchner), "the line")
    before = said(pair.buchner)
    Raw(pair.buchner.port).socket.close()
    with Raw(pair.buchner.port) as raw:
        raw.send(LINE + ASK)
        assert raw.reply().status == 200
    assert said(pair.buchner) == before, "a connection that is only tried is nothing to log"
