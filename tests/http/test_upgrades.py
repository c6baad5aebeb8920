"""Protocols that clients leave HTTP for: only those that are listed, and tunnels that end."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app_driver import AppGateway
from helpers.proxied import proxy, seen
from helpers.raw import Raw
from helpers.wait import wait_for

if TYPE_CHECKING:
    from helpers.gateway import Gateway
    from helpers.nginx import Server
    from helpers.upstream import Script, Upstream

Run = Callable[..., "Gateway"]
RunUpstream = Callable[["Script"], "Upstream"]

ASK = (
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {}\r\n"
    "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
)


def switching(connection: socket.socket, head: bytes) -> bool:
    """Change to the first protocol that is asked for; otherwise an ordinary answer."""
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    if b"upgrade" not in fields:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain")
        return True
    protocol = fields[b"upgrade"].split(b",")[0]
    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n")
    while data := connection.recv(1000):
        connection.sendall(data.upper())
    return False


ASKED = [
    ("websocket", 101, "websocket"),
    ("WebSocket", 101, "WebSocket"),
    ("h2c", 200, None),
    ("H2C", 200, None),
    ("h2c, websocket", 101, "websocket"),
    ("websocket, h2c", 101, "websocket"),
    ("HTTP/2.0", 200, None),
    ("TLS/1.2", 200, None),
    ("tcp", 200, None),
]


def check(port: int, upstream: Upstream, asked: str, status: int, passed: str | None) -> None:
    with Raw(port) as raw:
        raw.send(ASK.format(asked))
        reply = raw.reply()
        assert (reply.status, seen(upstream).get("upgrade")) == (status, passed), asked
        assert "http2-settings" not in seen(upstream)
        if status == 101:
            raw.send("through")
            assert raw._exactly(7) == b"THROUGH"
        else:
            assert "upgrade" not in seen(upstream).get("connection", "").lower()
            assert reply.body == b"plain"


@pytest.mark.parametrize(("asked", "status", "passed"), ASKED)
def test_only_listed_protocols_are_upgraded_to(
    run_gateway: Run, run_upstream: RunUpstream, asked: str, status: int, passed: str | None
) -> None:
    upstream = run_upstream(switching)
    check(run_gateway(proxy(upstream.port)).port, upstream, asked, status, passed)


def test_the_list_is_a_setting(run_gateway: Run, run_upstream: RunUpstream) -> None:
    upstream = run_upstream(switching)
    gateway = run_gateway(proxy(upstream.port, 'upgrade_protocols = ["tcp", "TLS"]'))
    check(gateway.port, upstream, "tcp", 101, "tcp")
    check(gateway.port, upstream, "TLS/1.2", 101, "TLS/1.2")
    check(gateway.port, upstream, "websocket", 200, None)
    none = run_gateway(proxy(upstream.port, "upgrade_protocols = []"))
    check(none.port, upstream, "websocket", 200, None)


CONF = """
server {{
    listen 127.0.0.1:PORT;
    location / {{
        proxy_pass http://127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
    }}
}}
"""


@pytest.mark.parametrize(("asked", "status", "passed"), ASKED)
def test_the_usual_lines_of_nginx_conf_upgrade_to_no_other(
    run_conf: Callable[[str], Server], run_upstream: RunUpstream, asked: str, status: int, passed: str | None
) -> None:
    upstream = run_upstream(switching)
    check(run_conf(CONF.format(port=upstream.port)).port, upstream, asked, status, passed)


def test_an_upstream_that_switches_to_another_protocol_is_refused(run_gateway: Run, run_upstream: RunUpstream) -> None:
    def script(connection: socket.socket, _head: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n")
        return False

    assert run_gateway(proxy(run_upstream(script).port)).ask(ASK.format("websocket")).status == 502


def test_apps_see_only_listed_protocols() -> None:
    seen: list[tuple[Any, Any]] = []

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        seen.append((environ.get("HTTP_UPGRADE"), environ.get("HTTP_CONNECTION")))
        start("200 OK", [])
        return [b"x"]

    with AppGateway(app) as gateway:
        for asked in ("h2c", "websocket", "h2c, websocket"):
            with Raw(gateway.port) as raw:
                raw.send(ASK.format(asked))
                assert raw.reply().status == 200
    assert seen == [(None, None), ("websocket", "Upgrade"), ("websocket", "Upgrade")]


class Silent:
    """An upstream that takes the upgrade and then neither reads nor writes."""

    def __init__(self) -> None:
        self.done = threading.Event()

    def __call__(self, connection: socket.socket, _head: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        self.done.wait(30)
        return False


def connections(gateway: Gateway) -> int:
    """Sockets of the gateway process; those of the supervisor, which it opens while it starts, are not among them."""
    pids = [gateway.process.pid]
    count = 0
    while pids:
        pid = pids.pop()
        try:
            pids += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            links = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        if b"buchner.gateway" in Path(f"/proc/{pid}/cmdline").read_bytes():
            count += sum(link.startswith("socket:") for link in links)
    return count


@pytest.mark.parametrize("how", ["idle", "close", "reset", "flood"])
def test_tunnels_to_a_deaf_upstream_end(run_gateway: Run, run_upstream: RunUpstream, how: str) -> None:
    silent = Silent()
    upstream = run_upstream(silent)
    gateway = run_gateway(proxy(upstream.port, 'read_timeout = "1s"'))
    clients = []
    try:
        for _ in range(5):
            raw = Raw(gateway.port)
            clients.append(raw)
            raw.send(ASK.format("websocket"))
            assert raw.reply().status == 101
        opened = connections(gateway)
        for raw in clients:
            if how == "flood":
                raw.socket.setblocking(False)
                try:
                    while True:
                        raw.socket.send(b"x" * 65536)
                except BlockingIOError:
                    pass
            if how == "reset":
                raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if how in ("close", "reset"):
                raw.socket.close()
        wait_for(lambda: connections(gateway) <= opened - 10, "the end of the tunnels", 10)
    finally:
        silent.done.set()
        for raw in clients:
            raw.socket.close()


def test_a_reset_ends_a_tunnel_without_an_idle_timeout(run_gateway: Run, run_upstream: RunUpstream) -> None:
    silent = Silent()
    gateway = run_gateway(proxy(run_upstream(silent).port, 'tunnel_timeout = "0s"'))
    try:
        raw = Raw(gateway.port)
        raw.send(ASK.format("websocket"))
        assert raw.reply().status == 101
        opened = connections(gateway)
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.socket.close()
        wait_for(lambda: connections(gateway) <= opened - 2, "the end of the tunnel", 5)
    finally:
        silent.done.set()


def test_a_tunnel_in_use_outlives_its_idle_timeout(run_gateway: Run, run_upstream: RunUpstream) -> None:
    gateway = run_gateway(proxy(run_upstream(switching).port, 'tunnel_timeout = "700ms"'))
    with Raw(gateway.port) as raw:
        raw.send(ASK.format("websocket"))
        assert raw.reply().status == 101
        for _ in range(6):
            threading.Event().wait(0.3)  # six times this is more than twice the timeout
            raw.send("ping")
            assert raw._exactly(4) == b"PING"
        assert raw.closed(), "silence ends it"


def test_a_half_closed_tunnel_still_carries_the_answer(run_gateway: Run, run_upstream: RunUpstream) -> None:
    def script(connection: socket.socket, _head: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        all_of_it = b""
        while data := connection.recv(1000):
            all_of_it += data
        threading.Event().wait(0.3)
        connection.sendall(all_of_it[::-1])
        return False

    with Raw(run_gateway(proxy(run_upstream(script).port)).port) as raw:
        raw.send(ASK.format("websocket"))
        assert raw.reply().status == 101
        raw.send("abc")
        raw.socket.shutdown(socket.SHUT_WR)
        assert raw._exactly(3) == b"cba"
        assert raw.closed()
