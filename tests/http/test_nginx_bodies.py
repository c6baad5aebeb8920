"""What is kept of bodies before they are passed on: Buchner and nginx on the same file keep the same."""

from __future__ import annotations

import gzip
import threading
from typing import TYPE_CHECKING

from helpers.nginx import Server, get
from helpers.raw import Raw
from helpers.upstream import answer
from helpers.wait import wait_for

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from helpers.nginx import Pair
    from helpers.upstream import Upstream

    RunPair = Callable[[str], Pair]
    RunUpstream = Callable[..., Upstream]


def post(target: str, size: int, *fields: str) -> str:
    return get(target, [f"Content-Length: {size}", *fields]).replace("GET", "POST", 1)


def test_a_body_that_does_not_fit_into_its_buffer_is_no_variable(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    def echo(connection: socket.socket, head: bytes) -> bool:
        found = b"yes" if b"X-Body: xxx" in head else b"no"
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(found) + found)
        return False

    back = run_upstream(echo).port
    pair = run_pair(
        f"""server {{ listen 127.0.0.1:PORT; proxy_set_header X-Body $request_body;
        location / {{ client_body_buffer_size 128k; proxy_pass http://127.0.0.1:{back}; }}
        location /small {{ client_body_buffer_size 4k; proxy_pass http://127.0.0.1:{back}; }} }}"""
    )
    for target, size, expected in (("/", 100_000, b"yes"), ("/small", 100_000, b"no"), ("/small", 500, b"yes")):
        assert pair.same(post(target, size) + "x" * size, "POST").body == expected, (target, size)


def test_a_request_is_passed_on_before_its_body_is_there(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    back = run_upstream(answer(b"ok"))
    pair = run_pair(
        f"""server {{ listen 127.0.0.1:PORT; proxy_http_version 1.1;
        location / {{ proxy_pass http://127.0.0.1:{back.port}; }}
        location /at-once {{ proxy_request_buffering off; proxy_pass http://127.0.0.1:{back.port}; }} }}"""
    )
    for server in (pair.nginx, pair.buchner):
        with Raw(server.port) as kept, Raw(server.port) as passed:
            before = len(back.heads)
            kept.send(post("/", 4) + "ab")
            passed.send(post("/at-once", 4) + "ab")
            wait_for(lambda: len(back.heads) > before, "the head")  # noqa: B023
            passed.send("cd")
            assert passed.reply().body == b"ok"
            assert [head.split(b" ")[1] for head in back.heads[before:]] == [b"/at-once"]
            kept.send("cd")
            assert kept.reply().body == b"ok"
    assert set(back.bodies) == {b"abcd"}


def test_a_slow_client_does_not_keep_an_upstream(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    size = 30_000_000
    body = bytes(range(256)) * (size // 256)
    sent: list[bytes] = []

    def big(connection: socket.socket, head: bytes) -> bool:
        connection.settimeout(60)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        sent.append(head.split(b" ")[1])
        return False

    back = run_upstream(big).port
    pair = run_pair(
        f"""server {{ listen 127.0.0.1:PORT;
        location / {{ proxy_pass http://127.0.0.1:{back}; }}
        location /memory {{ proxy_max_temp_file_size 0; proxy_pass http://127.0.0.1:{back}; }}
        location /as-it-comes {{ proxy_buffering off; proxy_pass http://127.0.0.1:{back}; }} }}"""
    )
    for server in (pair.nginx, pair.buchner):
        sent.clear()
        with (
            Raw(server.port) as slow,
            Raw(server.port) as later,
            Raw(server.port) as memory,
            Raw(server.port) as held,
        ):
            memory.send(get("/memory"))
            held.send(get("/as-it-comes"))
            # Two, one after the other: what began before them had the time as well.
            for number, raw in enumerate((slow, later), 1):
                raw.send(get("/"))
                wait_for(lambda number=number: sent.count(b"/") == number, "the end of the answer")  # type: ignore[misc]
            assert set(sent) == {b"/"}, server.file
            for raw in (held, memory, slow, later):
                assert raw.reply().body == body


def test_a_stream_comes_piece_by_piece_where_it_is_not_kept(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    gate = threading.Event()

    def pieces(connection: socket.socket, head: bytes) -> bool:
        told = b"X-Accel-Buffering: no\r\n" if b"/told" in head else b""
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + told + b"Content-Length: 10\r\n\r\nfirst")
        gate.wait(20)
        connection.sendall(b"later")
        return False

    back = run_upstream(pieces).port
    pair = run_pair(
        f"""server {{ listen 127.0.0.1:PORT;
        location / {{ proxy_buffering off; proxy_pass http://127.0.0.1:{back}; }}
        location /told {{ proxy_pass http://127.0.0.1:{back}; }} }}"""
    )
    for server in (pair.nginx, pair.buchner):
        for target in ("/", "/told"):
            gate.clear()
            with Raw(server.port) as raw:
                raw.send(get(target))
                raw._until(b"\r\n\r\nfirst")
                gate.set()
                raw._until(b"later")


def test_a_mirror_without_the_body(run_upstream: RunUpstream, run_pair: RunPair) -> None:
    back, copies = run_upstream(answer(b"ok")), run_upstream(answer(b"ignored"))
    pair = run_pair(
        f"""server {{ listen 127.0.0.1:PORT; proxy_set_header Content-Length "";
        location / {{ mirror /copy; proxy_pass http://127.0.0.1:{back.port}; }}
        location /bare {{ mirror /copy; mirror_request_body off; proxy_pass http://127.0.0.1:{back.port}; }}
        location = /copy {{ internal; proxy_set_header X-Body $request_body;
            proxy_pass http://127.0.0.1:{copies.port}; }} }}"""
    )
    for server in (pair.nginx, pair.buchner):
        for target, has_it in (("/", True), ("/bare", False)):
            copies.heads.clear()
            server.ask(post(target, 5) + "hello", "POST")
            wait_for(lambda: copies.heads, "the copy")
            assert (b"X-Body: hello" in copies.heads[0]) is has_it, (server.file, target)


def test_how_well_and_from_which_length_gzip_packs(run_pair: RunPair, tmp_path: Path) -> None:
    text = " ".join(f"{number % 700:x} and {number % 91} words" for number in range(5000))
    (tmp_path / "long.html").write_text(text)
    (tmp_path / "short.html").write_text("x" * 60)
    pair = run_pair(
        """server { listen 127.0.0.1:PORT; root DIR; default_type text/html; gzip on;
        location /fast/ { alias DIR/; gzip_comp_level 1; }
        location /best/ { alias DIR/; gzip_comp_level 9; }
        location /min/ { alias DIR/; gzip_min_length 61; } }"""
    )
    takes = ["Accept-Encoding: gzip"]

    def packed(server: Server, target: str) -> int:
        reply = server.ask(get(target, takes))
        assert reply is not None
        assert gzip.decompress(reply.body) == text.encode()
        return len(reply.body)

    for server in (pair.nginx, pair.buchner):
        assert packed(server, "/best/long.html") < 0.95 * packed(server, "/fast/long.html")
    for target, coded in (("/short.html", True), ("/min/short.html", False), ("/min/long.html", True)):
        theirs, ours = pair.both(get(target, takes))
        assert ours.fields == theirs.fields
        assert (("content-encoding", "gzip") in ours.fields) is coded, target
