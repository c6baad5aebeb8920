"""What a server takes of heads and connections: names of fields, their number, how long a connection serves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from helpers.nginx import get
from helpers.raw import Raw

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from helpers.gateway import Gateway
    from helpers.nginx import Pair
    from helpers.upstream import Upstream

NAMES = ("X.Dot: 1", "X_Underscore: 2", "X!Mark: 3", "X-Plain: 4", "x_a.b: 5", "X~: 6")


def echo(connection: socket.socket, head: bytes) -> bool:
    """Answer the fields that begin with an X."""
    lines = b"|".join(sorted(line for line in head.split(b"\r\n") if line.lower().startswith(b"x")))
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(lines) + lines)
    return True


@pytest.mark.parametrize(
    ("lines", "passed"),
    [
        ("", b"X-Plain: 4"),
        ("ignore_invalid_headers on; underscores_in_headers on;", b"X-Plain: 4|X_Underscore: 2"),
        ("ignore_invalid_headers off;", None),
        ("ignore_invalid_headers off; underscores_in_headers on;", None),
    ],
)
def test_names_of_fields(
    lines: str, passed: bytes | None, run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream]
) -> None:
    back = run_upstream(echo)
    pair = run_pair(
        f"server {{ listen 127.0.0.1:PORT; {lines} location / {{ proxy_pass http://127.0.0.1:{back.port}; }} }}"
    )
    answered = pair.get("/", *NAMES)
    assert passed in (None, answered.body)
    assert (b"X.Dot" in answered.body) is ("off" in lines)


def test_how_long_a_connection_serves(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair("server { listen 127.0.0.1:PORT; keepalive_time 1s; location / { return 200 ok; } }")
    for server in (pair.nginx, pair.buchner):
        with Raw(server.port) as raw:
            seen = []
            for pause in (0, 1.5):
                time.sleep(pause)  # the time is what is tested
                raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                seen.append((raw.reply().get("connection") or "keep-alive").lower())
            assert seen == ["keep-alive", "close"]
            assert raw.socket.recv(1) == b""


def test_clients_are_told_how_long_a_connection_is_kept(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair("server { listen 127.0.0.1:PORT; keepalive_timeout 65s 60s; return 200 ok; }")
    for version, asked in (("1.1", ""), ("1.0", "Connection: keep-alive\r\n")):
        request = f"GET / HTTP/{version}\r\nHost: told\r\n{asked}\r\n"
        assert ("keep-alive", "timeout=60") in pair.same(request).fields
    assert "keep-alive" not in dict(pair.same("GET / HTTP/1.1\r\nHost: told\r\nConnection: close\r\n\r\n").fields)


def test_trace_is_refused(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair("server { listen 127.0.0.1:PORT; return 200 ok; }")
    theirs, ours = pair.both("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (theirs.status, ours.status) == (405, 405)


def test_the_number_of_fields(run_pair: Callable[[str], Pair], run_gateway: Callable[[str], Gateway]) -> None:
    pair = run_pair("server { listen 127.0.0.1:PORT; location / { return 200 ok; } }")
    assert pair.get("/", *(f"X-{number}: 1" for number in range(400))).status == 200
    gateway = run_gateway('[[server]]\nmax_fields = 5\n[[server.route]]\npath = "/"\nrespond = 204\n')
    assert gateway.ask(get("/", [f"X-{number}: 1" for number in range(3)])).status == 204
    assert gateway.ask(get("/", [f"X-{number}: 1" for number in range(4)])).status == 431
