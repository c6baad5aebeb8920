"""`buchner run` in front of an HTTP upstream: what each side sees, and what happens when the upstream fails."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable

import pytest

from helpers.gateway import Gateway, free_port
from helpers.proxied import proxy, seen
from helpers.raw import Raw
from helpers.upstream import Script, Upstream, answer, exactly
from helpers.wait import wait_for

Run = Callable[..., Gateway]
RunUpstream = Callable[[Script], Upstream]


SEED = """\
[[server]]
names = ["example.com"]

[[server.route]]
path = "/"
proxy = "http://localhost:{port}/"
set_headers = {{ Host = "$host", X-Real-IP = "$remote_addr", X-Forwarded-For = "$proxy_add_x_forwarded_for" }}
"""


@pytest.mark.kind("backend proxy")
def test_upstream_sees_host_and_an_appended_address(run_gateway: Run, run_upstream: RunUpstream) -> None:
    upstream = run_upstream(answer(b"legacy"))
    gateway = run_gateway(SEED.format(port=upstream.port))
    reply = gateway.ask("GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n")
    assert (reply.status, reply.body) == (200, b"legacy")
    assert upstream.heads[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")
    fields = seen(upstream)
    assert fields["host"] == "example.com"
    assert fields["x-real-ip"] == "127.0.0.1"
    assert fields["x-forwarded-for"] == "192.0.2.7, 127.0.0.1"


def test_upstream_connections_are_kept(run_gateway: Run, run_upstream: RunUpstream) -> None:
    upstream = run_upstream(answer())
    gateway = run_gateway(proxy(upstream.port))
    for _ in range(20):
        assert gateway.get().status == 200
    assert len(upstream.heads) == 20
    assert upstream.connections == 1


def test_hop_by_hop_fields_do_not_cross(run_gateway: Run, run_upstream: RunUpstream) -> None:
    upstream = run_upstream(answer(b"x", "Connection: X-Private", "X-Private: 1", "Keep-Alive: timeout=5", "X-Own: 1"))
    gateway = run_gateway(proxy(upstream.port))
    reply = gateway.ask(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Secret\r\nX-Secret: 1\r\nTE: gzip\r\nX-A: 1\r\n\r\n"
    )
    assert {"x-secret", "te", "keep-alive"} & seen(upstream).keys() == set()
    assert seen(upstream)["x-a"] == "1"
    assert {"x-private", "keep-alive"} & {name for name, _ in reply.fields} == set()
    assert reply.get("x-own") == "1"


def test_a_chunked_upload_arrives_whole(run_gateway: Run, run_upstream: RunUpstream) -> None:
    upstream = run_upstream(answer())
    gateway = run_gateway(proxy(upstream.port))
    body = os.urandom(300_000)
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(part), part) for part in (body[i : i + 7001] for i in range(0, len(body), 7001))
    )
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert gateway.ask(head + chunks + b"0\r\n\r\n").status == 200
    assert hashlib.sha256(upstream.bodies[0]).digest() == hashlib.sha256(body).digest()


def test_a_large_response_arrives_whole(run_gateway: Run, run_upstream: RunUpstream) -> None:
    body = os.urandom(5_000_000)
    upstream = run_upstream(answer(body))
    assert run_gateway(proxy(upstream.port)).get().body == body


def test_a_response_without_length_ends_with_the_connection(run_gateway: Run, run_upstream: RunUpstream) -> None:
    upstream = run_upstream(exactly(b"HTTP/1.1 200 OK\r\n\r\nuntil the end"))
    assert run_gateway(proxy(upstream.port)).get().body == b"until the end"


def test_expect_continue_is_answered(run_gateway: Run, run_upstream: RunUpstream) -> None:
    upstream = run_upstream(answer())
    with Raw(run_gateway(proxy(upstream.port)).port) as raw:
        raw.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert raw.reply().status == 100
        raw.send("body")
        assert raw.reply().status == 200
    assert upstream.bodies == [b"body"]


def test_an_upgrade_becomes_a_tunnel(run_gateway: Run, run_upstream: RunUpstream) -> None:
    def echo(connection: socket.socket, _head: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := connection.recv(1000):
            connection.sendall(data.upper())
        return False

    upstream = run_upstream(echo)
    with Raw(run_gateway(proxy(upstream.port)).port) as raw:
        raw.send(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert raw.reply().status == 101
        for word in (b"one", b"two"):
            raw.send(word)
            assert raw._exactly(3) == word.upper()


@pytest.mark.parametrize(
    ("bytes_sent", "why"),
    [
        (b"", "closed without a word"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "two lengths"),
        (b"HTTP/1.1 200 OK\r\nX-A: b\r\n folded\r\nContent-Length: 0\r\n\r\n", "a folded field"),
        (b"nonsense\r\n\r\n", "not HTTP"),
    ],
)
def test_a_broken_response_is_502(run_gateway: Run, run_upstream: RunUpstream, bytes_sent: bytes, why: str) -> None:
    gateway = run_gateway(proxy(run_upstream(exactly(bytes_sent)).port))
    assert gateway.get().status == 502, why


def test_a_truncated_response_breaks_the_connection(run_gateway: Run, run_upstream: RunUpstream) -> None:
    upstream = run_upstream(exactly(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"))
    gateway = run_gateway(proxy(upstream.port))
    try:
        reply = gateway.get()
    except (EOFError, ConnectionResetError):
        return  # the head was out already
    assert reply.status == 502


def test_a_refused_connection_is_502_and_the_log_says_so(run_gateway: Run) -> None:
    port = free_port()
    gateway = run_gateway(proxy(port))
    assert gateway.get().status == 502
    wait_for(lambda: f"127.0.0.1:{port}" in gateway.log and "refused" in gateway.log, "the log line")


def test_a_silent_upstream_is_504(run_gateway: Run, run_upstream: RunUpstream) -> None:
    def silent(connection: socket.socket, _head: bytes) -> bool:
        connection.recv(1)
        return False

    upstream = run_upstream(silent)
    assert run_gateway(proxy(upstream.port, "read_timeout = 1")).get().status == 504


def test_a_connection_closed_while_idle_is_retried(run_gateway: Run, run_upstream: RunUpstream) -> None:
    def once(connection: socket.socket, _head: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return False

    upstream = run_upstream(once)
    gateway = run_gateway(proxy(upstream.port))
    assert [gateway.get().status for _ in range(20)] == [200] * 20


def vanish(upstream: Upstream) -> None:
    upstream.listener.shutdown(socket.SHUT_RDWR)  # wakes its accept
    upstream.close()


@pytest.mark.kind("balancer round_robin")
def test_servers_are_asked_in_turn_by_weight_and_a_backup_only_when_they_fail(
    run_gateway: Run, run_upstream: RunUpstream
) -> None:
    first, second, spare = (
        run_upstream(exactly(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(name), name)))
        for name in (b"first", b"second", b"spare")
    )
    gateway = run_gateway(
        f"""
        [upstream.up]
        servers = [
          "127.0.0.1:{first.port} weight=2", "127.0.0.1:{second.port}", "127.0.0.1:{spare.port} backup",
        ]
        [[server]]
        [[server.route]]
        path = "/"
        proxy = "http://up"
        """.replace("        ", "")
    )
    bodies = [gateway.get().body for _ in range(9)]
    assert (bodies.count(b"first"), bodies.count(b"second"), bodies.count(b"spare")) == (6, 3, 0)
    assert len(set(bodies[:3])) == 2  # spread, not in runs
    vanish(first)
    assert {gateway.get().body for _ in range(6)} == {b"second"}
    vanish(second)
    assert {gateway.get().body for _ in range(3)} == {b"spare"}
