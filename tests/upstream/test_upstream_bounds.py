"""What upstreams and clients cannot do: collect connections, memory, or get somebody else's response."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from helpers.raw import Raw
from helpers.upstream import answer
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.gateway import Gateway
    from helpers.nginx import Server
    from helpers.upstream import Script, Upstream

    Run = Callable[..., Gateway]
    RunUpstream = Callable[[Script], Upstream]


def proxy(port: int) -> str:
    return f'[[server]]\n[[server.route]]\npath = "/"\nproxy = "http://127.0.0.1:{port}"\n'


def test_a_mirror_that_hangs_collects_few_connections_and_holds_nobody_up(
    run_conf: Callable[[str], Server], run_upstream: RunUpstream
) -> None:
    over = threading.Event()

    def hang(_connection: socket.socket, _head: bytes) -> bool:
        over.wait(30)
        return False

    back, hung = run_upstream(answer(b"ok")), run_upstream(hang)
    server = run_conf(
        "server { listen 127.0.0.1:PORT;"
        f" location / {{ mirror /copy; proxy_pass http://127.0.0.1:{back.port}; }}"
        f" location = /copy {{ internal; proxy_pass http://127.0.0.1:{hung.port}; }} }}"
    )
    began = time.monotonic()
    with Raw(server.port) as raw:
        for _ in range(100):
            raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert raw.reply().body == b"ok"
    assert time.monotonic() - began < 20
    assert hung.connections <= 8
    over.set()


def test_a_mirror_that_is_slow_gets_every_copy(run_conf: Callable[[str], Server], run_upstream: RunUpstream) -> None:
    def slow(connection: socket.socket, head: bytes) -> bool:
        time.sleep(0.005)  # a slow server
        return answer(b"")(connection, head)

    back, copies = run_upstream(answer(b"ok")), run_upstream(slow)
    server = run_conf(
        "server { listen 127.0.0.1:PORT;"
        f" location / {{ mirror /copy; proxy_pass http://127.0.0.1:{back.port}; }}"
        f" location = /copy {{ internal; proxy_pass http://127.0.0.1:{copies.port}; }}"
        " }"
    )
    with Raw(server.port) as raw:
        for _ in range(40):
            raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert raw.reply().body == b"ok"
    wait_for(lambda: len(copies.heads) == 40, "every copy")


def test_much_that_was_packed_small_arrives_whole(run_conf: Callable[[str], Server], run_upstream: RunUpstream) -> None:
    packed = gzip.compress(bytes(5_000_000)) + gzip.compress(b"end")
    back = run_upstream(answer(packed, "Content-Encoding: gzip"))
    server = run_conf(
        f"server {{ listen 127.0.0.1:PORT; gunzip on; location / {{ proxy_pass http://127.0.0.1:{back.port}; }} }}"
    )
    reply = server.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert reply is not None
    assert reply.body == bytes(5_000_000) + b"end"


@pytest.mark.parametrize("late", [b"late", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_bytes_that_come_late_are_nobodys_response(
    run_gateway: Run, run_upstream: RunUpstream, late: bytes, method: str
) -> None:
    sent = threading.Semaphore(0)

    def script(connection: socket.socket, head: bytes) -> bool:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer(b"right")(connection, head)
        if b"/first" in head:
            time.sleep(0.02)  # the response goes on alone
            connection.sendall(late)
            sent.release()
        return True

    upstream = run_upstream(script)
    with Raw(run_gateway(proxy(upstream.port)).port) as raw:
        for _ in range(5):
            raw.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
            assert raw.reply().body == b"right"
            assert sent.acquire(timeout=10)
            raw.send(f"{method} /second HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            reply = raw.reply()
            assert (reply.status, reply.body) == (200, b"right")


def test_what_is_no_http_on_a_kept_connection_is_asked_for_again(run_gateway: Run, run_upstream: RunUpstream) -> None:
    seen: set[socket.socket] = set()

    def script(connection: socket.socket, head: bytes) -> bool:
        if connection in seen:
            connection.sendall(b"the body of the HEAD before")
            return False
        seen.add(connection)
        return answer(b"right")(connection, head)

    upstream = run_upstream(script)
    with Raw(run_gateway(proxy(upstream.port)).port) as raw:
        for _ in range(5):
            raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            reply = raw.reply()
            assert (reply.status, reply.body) == (200, b"right")


def test_a_body_to_head_does_not_spoil_the_next_request(run_gateway: Run, run_upstream: RunUpstream) -> None:
    def script(connection: socket.socket, _head: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        time.sleep(0.001)  # a piece of its own
        connection.sendall(b"hello")
        return True

    upstream = run_upstream(script)
    with Raw(run_gateway(proxy(upstream.port)).port) as raw:
        for _ in range(20):
            raw.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert raw.reply("HEAD").status == 200
            raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            reply = raw.reply()
            assert (reply.status, reply.body) == (200, b"hello")
