"""Line ends of heads: LF alone where an nginx.conf is read, if no line ends otherwise; never in chunk framing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from helpers.proxied import proxy
from helpers.raw import Raw
from helpers.upstream import Script, Upstream, exactly

if TYPE_CHECKING:
    from helpers.gateway import Gateway
    from helpers.nginx import Pair, Server

Run = Callable[..., "Gateway"]
RunUpstream = Callable[[Script], Upstream]

FIXED = '[[server]]\n{settings}\n[[server.route]]\npath = "/"\nrespond = {{ status = 200, body = "fixed" }}\n'
CONF = """
server {{
    listen 127.0.0.1:PORT;
    location / {{ return 200 "[$http_x]"; }}
    location /up {{ proxy_pass http://127.0.0.1:{port}; proxy_http_version 1.1; }}
}}
"""
TAKEN = [
    "GET / HTTP/1.0\nHost: a\nX: y\n\n",
    "GET / HTTP/1.1\nHost: a\nX: y\nConnection: close\n\n",
    "\nGET / HTTP/1.0\nX: y\n\n",
    "\r\n\r\nGET / HTTP/1.0\r\nX: y\r\n\r\n",
    "\n\n\r\n\nGET / HTTP/1.0\nX: y\n\n",
]
MIXED = [
    "GET / HTTP/1.0\r\nHost: a\nX: y\r\n\r\n",
    "GET / HTTP/1.0\nHost: a\r\nX: y\n\n",
    "GET / HTTP/1.0\r\nHost: a\r\nX: y\r\n\n",
    "GET / HTTP/1.0\nHost: a\nX: y\n\r\n",
]
REFUSED = [
    "GET / HTTP/1.0\nHost: a\nX: y\rz\n\n",
    "GET / HTTP/1.0\nHost: a\nX: y\n folded\n\n",
    "GET / HTTP/1.0\nHost: a\nX: y\0z\n\n",
]

BROKEN = [
    "2\nab\r\n0\r\n\r\n",
    "2\r\nab\n0\r\n\r\n",
    "2\r\nab\r\n0\n\r\n",
    "2\r\nab\r\n0\r\n\n",
    "2\r\nab\r\n0\r\nX: y\n\n",
]


def ask(port: int, request: str, step: int) -> int:
    with Raw(port) as raw:
        for at in range(0, len(request), step):
            raw.send(request[at : at + step])
        return raw.reply().status


@pytest.mark.parametrize("step", [1, 1000])
def test_nginx_conf_takes_heads_with_lf_alone(run_pair: Callable[[str], Pair], step: int) -> None:
    pair = run_pair(CONF.format(port=9))
    for request in TAKEN:
        assert (ask(pair.nginx.port, request, step), ask(pair.buchner.port, request, step)) == (200, 200), request
        assert pair.same(request).body == b"[y]"
    for request in MIXED + REFUSED:
        assert ask(pair.buchner.port, request, step) == 400, request


@pytest.mark.parametrize("settings", ["", "bare_lf = true"])
def test_gateway_toml_takes_them_only_if_told(run_gateway: Run, settings: str) -> None:
    gateway = run_gateway(FIXED.format(settings=settings))
    for request in TAKEN:
        assert ask(gateway.port, request, 1000) == (200 if settings else 400), request
    for request in MIXED + REFUSED:
        assert ask(gateway.port, request, 1000) == 400, request


def test_one_empty_line_is_always_ignored(run_gateway: Run) -> None:
    assert ask(run_gateway(FIXED.format(settings="")).port, "\r\nGET / HTTP/1.0\r\n\r\n", 1) == 200


def test_chunk_framing_has_crlf_alone(run_conf: Callable[[str], Server], run_upstream: RunUpstream) -> None:
    upstream = run_upstream(exactly(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"))
    server = run_conf(CONF.format(port=upstream.port))
    post = "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    for body in BROKEN:
        assert ask(server.port, post + body, 1000) == 400, body
    assert ask(server.port, post.replace("\r\n", "\n") + "2\r\nab\r\n0\r\n\r\n", 1000) == 200


def test_heads_of_upstreams(run_conf: Callable[[str], Server], run_gateway: Run, run_upstream: RunUpstream) -> None:
    upstream = run_upstream(exactly(b"HTTP/1.1 200 OK\nX-Own: 1\nContent-Length: 2\n\nok"))
    request = "GET /up HTTP/1.1\r\nHost: a\r\n\r\n"
    reply = run_conf(CONF.format(port=upstream.port)).ask(request)
    assert reply is not None
    assert (reply.status, reply.get("x-own"), reply.body) == (200, "1", b"ok")
    assert run_gateway(proxy(upstream.port)).ask(request).status == 502
    assert run_gateway(proxy(upstream.port, "upstream_bare_lf = true")).ask(request).status == 200
    mixed = run_upstream(exactly(b"HTTP/1.1 200 OK\r\nX-Own: 1\nContent-Length: 2\r\n\r\nok"))
    assert run_gateway(proxy(mixed.port, "upstream_bare_lf = true")).ask(request).status == 502


def test_the_next_hop_sees_crlf(run_conf: Callable[[str], Server], run_upstream: RunUpstream) -> None:
    upstream = run_upstream(exactly(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    server = run_conf(CONF.format(port=upstream.port))
    assert ask(server.port, "GET /up HTTP/1.1\nHost: a\nX: y\n\n", 1) == 200
    head = upstream.heads[0]
    assert head.count(b"\n") == head.count(b"\r\n")
    assert b"\r\nX: y\r\n" in head
