"""How connections end: nginx and Buchner on the same file, seen from clients that still send or do not read."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from helpers.nginx import Pair, Server
from helpers.raw import Raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HTTP = """
server {
    listen 127.0.0.1:PORT sndbuf=16k;
    client_max_body_size 1;
    root DIR;
    send_timeout 1s;
    lingering_timeout 10s;
    lingering_time 20s;
    location / { return 200; }
    location /on { return 200; }
    location /off { lingering_close off; return 200; }
    location /always { lingering_close always; return 200; }
    location /short { lingering_timeout 1s; return 200; }
    location /in-all { lingering_time 1s; return 200; }
    location /plain/ { alias DIR/; }
    location /reset/ { reset_timedout_connection on; alias DIR/; }
    location /444 { return 444; }
    location /reset444 { reset_timedout_connection on; return 444; }
    location /old { keepalive_disable msie6 safari; return 204; }
    location /new { keepalive_disable none; return 204; }
}
"""
UPLOAD = "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
IE6 = "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)"
SAFARI = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_6) AppleWebKit/533 (KHTML, like Gecko) Safari/533"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, require_peer: Callable[[str], str]) -> Iterator[Pair]:
    directory: Path = tmp_path_factory.mktemp("pair")
    (directory / "big").write_bytes(b"x" * (20 << 20))
    pair = Pair(directory, require_peer("nginx"), HTTP)
    yield pair
    pair.stop()


def both(pair: Pair, see: Callable[[Server], object]) -> object:
    """What is seen of nginx, and of Buchner alike."""
    seen = [see(server) for server in (pair.nginx, pair.buchner)]
    assert seen[0] == seen[1]
    return seen[0]


def takes_more(raw: Raw, seconds: float) -> bool:
    """Whether the other side still takes what is sent, for so long."""
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            raw.send("x")
            time.sleep(0.05)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def see_upload(server: Server, path: str) -> object:
    """The status of an upload that is refused by its length, and whether more of it is taken."""
    with Raw(server.port) as raw:
        raw.send(UPLOAD.format(path))
        return raw.reply().status, takes_more(raw, 0.4)


@pytest.mark.parametrize("path", ["/on", "/always", "/short"])
def test_a_refused_upload_is_read_on_for_a_while(pair: Pair, path: str) -> None:
    assert both(pair, lambda server: see_upload(server, path)) == (413, True)


def test_a_refused_upload_is_not_read_on_where_that_is_off(pair: Pair) -> None:
    # nginx says the same in its documentation, and reads on as if it were on
    assert see_upload(pair.buchner, "/off") == (413, False)


@pytest.mark.parametrize(
    ("path", "more", "lingers"),
    [("/on", "", False), ("/always", "", True), ("/on", "more", True), ("/off", "more", False), ("/off", "", False)],
)
def test_what_was_read_whole_is_closed_at_once(pair: Pair, path: str, more: str, lingers: bool) -> None:
    def see(server: Server) -> object:
        with Raw(server.port) as raw:
            raw.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n{more}")
            return raw.reply().status, takes_more(raw, 0.4)

    assert both(pair, see) == (200, lingers)


def test_lingering_ends_when_nothing_comes(pair: Pair) -> None:
    def see(server: Server) -> object:
        with Raw(server.port) as raw:
            raw.send(UPLOAD.format("/short"))
            assert raw.reply().status == 413
            time.sleep(2.5)
            return takes_more(raw, 0.4)

    assert both(pair, see) is False


def test_lingering_ends_though_more_comes(pair: Pair) -> None:
    def see(server: Server) -> object:
        with Raw(server.port) as raw:
            raw.send(UPLOAD.format("/in-all"))
            assert raw.reply().status == 413
            return takes_more(raw, 8)

    assert both(pair, see) is False


def how_it_ends(server: Server, path: str, wait: float) -> str:
    """Whether a connection whose answer is not read for a while is closed or reset."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(15)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        time.sleep(wait)
        try:
            while sock.recv(1 << 16):
                pass
        except ConnectionResetError:
            return "reset"
    return "closed"


@pytest.mark.parametrize(
    ("path", "wait", "ends"),
    [
        ("/plain/big", 3.5, "closed"),
        ("/reset/big", 3.5, "reset"),
        ("/444", 0, "closed"),
        ("/reset444", 0, "reset"),
    ],
)
def test_a_connection_given_up_is_reset_where_that_is_said(pair: Pair, path: str, wait: float, ends: str) -> None:
    assert both(pair, lambda server: how_it_ends(server, path, wait)) == ends


@pytest.mark.parametrize(
    ("method", "path", "agent", "closes"),
    [
        ("POST", "/old", IE6, True),
        ("GET", "/old", IE6, False),
        ("GET", "/old", SAFARI, True),
        ("POST", "/new", IE6, False),
        ("GET", "/new", SAFARI, False),
        ("POST", "/old", "curl/8", False),
    ],
)
def test_connections_of_old_browsers(pair: Pair, method: str, path: str, agent: str, closes: bool) -> None:
    def see(server: Server) -> object:
        with Raw(server.port) as raw:
            raw.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\nContent-Length: 0\r\n\r\n")
            return raw.reply().get("connection") == "close"

    assert both(pair, see) is closes
