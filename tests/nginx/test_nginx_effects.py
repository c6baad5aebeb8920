"""Directives whose effect is on connections, speed or logs: Buchner and nginx on the same file show the same one."""

from __future__ import annotations

import base64
import gzip
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.nginx import get
from helpers.raw import Raw
from helpers.upstream import answer
from helpers.wait import wait_for

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from helpers.nginx import Pair
    from helpers.upstream import Upstream

    RunPair = Callable[[str], Pair]
    RunUpstream = Callable[..., Upstream]

KEPT = "GET / HTTP/1.1\r\nHost: test\r\n\r\n"
TIMER_OF_KEEPALIVE = "02"


def test_proxy_bind_and_socket_keepalive(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    def has_timer(port: int) -> bool:
        """Whether the socket bound to this port has the timer of SO_KEEPALIVE."""
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return any(line[1].endswith(f":{port:04X}") and line[5].startswith(TIMER_OF_KEEPALIVE) for line in lines)

    def script(connection: socket.socket, head: bytes) -> bool:
        host, port = connection.getpeername()
        if b"/kept" in head:
            wait_for(lambda: has_timer(port), "the timer of keepalive")
        body = f"{host} {has_timer(port)}".encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return False

    pair = run_pair(
        """server { listen 127.0.0.1:PORT; proxy_bind 127.0.0.2;
        location / { proxy_pass http://127.0.0.1:UP; }
        location /off { proxy_bind off; proxy_pass http://127.0.0.1:UP; }
        location /variable { proxy_bind $arg_from; proxy_pass http://127.0.0.1:UP; }
        location /kept { proxy_socket_keepalive on; proxy_pass http://127.0.0.1:UP; }
        }""".replace("UP", str(run_upstream(script).port))
    )
    assert pair.get("/").body == b"127.0.0.2 False"
    assert pair.get("/off").body == b"127.0.0.1 False"
    assert pair.get("/variable?from=127.0.0.3").body == b"127.0.0.3 False"
    assert pair.get("/kept").body == b"127.0.0.2 True"


def test_proxy_limit_rate(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    up = str(run_upstream(answer(b"x" * 60000)).port)
    pair = run_pair(
        """server { listen 127.0.0.1:PORT; proxy_buffer_size 4k; proxy_buffers 4 4k; proxy_busy_buffers_size 8k;
        location / { proxy_pass http://127.0.0.1:UP; }
        location /slow { proxy_limit_rate 30000; proxy_pass http://127.0.0.1:UP; } }""".replace("UP", up)
    )
    for server in (pair.nginx, pair.buchner):
        assert server.timed(get("/"))[1] < 0.9 < server.timed(get("/slow"))[1] < 4


@pytest.mark.parametrize(
    ("lines", "connections"), [("", 1), ("keepalive_requests 2;", 3), ("keepalive_time 100ms;", 3), ("TIMEOUT", 2)]
)
def test_connections_to_an_upstream_are_kept_as_long(
    lines: str, connections: int, run_pair: RunPair, run_upstream: RunUpstream
) -> None:
    upstreams = [run_upstream(answer(b"ok")) for _ in range(2)]
    lines = lines.replace("TIMEOUT", "keepalive_timeout 300ms;")
    conf = """upstream u { server 127.0.0.1:UP; keepalive 4; %s }
        server { listen 127.0.0.1:PORT; location / {
            proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://u; } }"""
    pair = run_pair((conf % lines).replace("UP", str(upstreams[0].port)))
    counts = []
    for server in (pair.nginx, pair.buchner):
        before = upstreams[0].connections
        for pause in (0, 0, 0, 0, 0.5):
            time.sleep(0.15 if "_time " in lines and not pause else pause)  # the time is what is tested
            reply = server.ask(get("/"))
            assert reply is not None
            assert reply.status == 200
        counts.append(upstreams[0].connections - before)
    assert counts[0] == counts[1]
    assert counts[0] == connections


@pytest.mark.parametrize("kept", [1, 2])
def test_idle_connections_to_an_upstream_are_as_many_as_it_says(
    kept: int, run_pair: RunPair, run_upstream: RunUpstream
) -> None:
    together = threading.Barrier(3)

    def script(connection: socket.socket, _head: bytes) -> bool:
        together.wait(20)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return True

    upstream = run_upstream(script)
    pair = run_pair(
        f"""upstream u {{ server 127.0.0.1:{upstream.port}; keepalive {kept}; }}
        server {{ listen 127.0.0.1:PORT; proxy_http_version 1.1; proxy_set_header Connection "";
        location / {{ proxy_pass http://u; }} }}"""
    )
    for server in (pair.nginx, pair.buchner):
        before = set(upstream.open)
        with Raw(server.port) as first, Raw(server.port) as second, Raw(server.port) as third:
            for raw in (first, second, third):
                raw.send(get("/"))
            for raw in (first, second, third):
                assert raw.reply().body == b"ok"
        wait_for(lambda: len(upstream.open - before) == kept, "the end of the others")  # noqa: B023


def test_auth_delay(run_pair: RunPair, tmp_path: Path) -> None:
    (tmp_path / "users").write_text("a:{PLAIN}b\n")
    (tmp_path / "users").chmod(0o644)
    pair = run_pair(
        """server { listen 127.0.0.1:PORT; root DIR; auth_basic x; auth_basic_user_file DIR/users; auth_delay 1s;
        location / { try_files /users =404; } location /at-once { auth_delay 0; try_files /users =404; } }"""
    )
    right = f"Authorization: Basic {base64.b64encode(b'a:b').decode()}"
    assert (pair.get("/").status, pair.get("/", right).status) == (401, 200)
    for server in (pair.nginx, pair.buchner):
        assert server.timed(get("/", [right]))[1] < 0.7
        assert server.timed(get("/at-once"))[1] < 0.7
        assert 0.9 < server.timed(get("/"))[1] < 3


def test_log_subrequest(run_pair: RunPair) -> None:
    pair = run_pair(
        """log_format uri $uri;
        server { listen 127.0.0.1:PORT; access_log DIR/PORT.txt uri; location = /silent { return 204; }
        location = /sub { log_subrequest on; return 204; }
        location / { auth_request /silent; try_files /none =404; }
        location /logged { auth_request /sub; try_files /none =404; } }"""
    )
    assert [pair.get(path).status for path in ("/a", "/logged", "/end")] == [404] * 3
    for server in (pair.nginx, pair.buchner):
        log = server.file.parents[1] / f"{server.port}.txt"
        wait_for(lambda log=log: log.exists() and "/end" in log.read_text(), "the last line")  # type: ignore[misc]
        lines = log.read_text().split()
        assert sorted(lines) == ["/a", "/end", "/logged", "/sub"], server.file


def test_gzip_and_gunzip_of_proxied_answers(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    text = b"plain text " * 200
    coded = gzip.compress(text, mtime=0)
    plain = run_upstream(answer(text, "Content-Type: text/html", 'ETag: "a"'))
    packed = run_upstream(answer(coded, "Content-Type: text/html", "Content-Encoding: gzip", 'ETag: "a"'))
    pair = run_pair(
        """server { listen 127.0.0.1:PORT; gzip_vary on;
        location /gzip { gzip on; proxy_pass http://127.0.0.1:PLAIN; }
        location /any { gzip on; gzip_proxied any; proxy_pass http://127.0.0.1:PLAIN; }
        location /packed { gzip on; proxy_pass http://127.0.0.1:PACKED; }
        location /gunzip { gunzip on; proxy_pass http://127.0.0.1:PACKED; } }""".replace(
            "PLAIN", str(plain.port)
        ).replace("PACKED", str(packed.port))
    )
    takes = "Accept-Encoding: gzip"
    for fields in ([], [takes], [takes, "Via: 1.1 x"], ["Accept-Encoding: gzip;q=0"]):
        for path in ("/gzip", "/any", "/packed", "/gunzip"):
            theirs, ours = pair.both(get(path, fields))
            assert (theirs.status, ours.status, ours.fields) == (200, 200, theirs.fields), (path, fields)
            bodies = [
                gzip.decompress(found.body) if ("content-encoding", "gzip") in found.fields else found.body
                for found in (theirs, ours)
            ]
            assert bodies == [text, text]
    assert ("content-encoding", "gzip") in pair.both(get("/gzip", [takes]))[1].fields
    assert ("content-encoding", "gzip") not in pair.both(get("/gunzip"))[1].fields


def test_alias_around_locations(run_pair: RunPair, tmp_path: Path) -> None:
    (tmp_path / "files" / "in").mkdir(parents=True)
    (tmp_path / "files" / "a.txt").write_text("a")
    (tmp_path / "files" / "in" / "b.txt").write_text("b")
    pair = run_pair(
        """server { listen 127.0.0.1:PORT; location /x/ { alias DIR/files/;
        location /x/in/ { add_header Nested yes; } } }"""
    )
    assert pair.get("/x/a.txt").body == b"a"
    assert ("nested", "yes") in pair.get("/x/in/b.txt").fields
    assert pair.get("/x/in/c.txt").status == 404


def test_alias_around_regular_expressions(run_pair: RunPair, tmp_path: Path) -> None:
    for name in ["a.txt", "in/b.txt", "in/index.html", "in/c.PNG"]:
        file = tmp_path / "files" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    pair = run_pair(
        """server { listen 127.0.0.1:PORT;
        location /x/ { alias DIR/files/;
            location ~ \\.txt$ { add_header File $request_filename; }
            location ~* /in/.*\\.png$ { add_header Root $document_root; }
            location /x/in/ { location ~ /(index.html)?$ { add_header In yes; } } }
        location ~ ^/y/(.*)$ { alias DIR/files/$1;
            location ~ ^/y/(?<name>.*)\\.txt$ { add_header Name $name; } } }"""
    )
    assert pair.get("/x/a.txt").body == b"a.txt"
    assert pair.get("/x/in/b.txt").body == b"in/b.txt"
    assert pair.get("/x/in/c.PNG").body == b"in/c.PNG"
    assert pair.get("/x/in/").body == b"in/index.html"
    for target in [
        "/x/in/index.html",
        "/x/in/none.txt",
        "/x/in",
        "/x/none.png",
        "/y/a.txt",
        "/y/in/b.txt",
        "/y/in/c.PNG",
    ]:
        pair.get(target)


def test_how_long_and_how_often_a_client_is_served(run_pair: RunPair) -> None:
    pair = run_pair(
        """server { listen 127.0.0.1:PORT; keepalive_requests 2; keepalive_timeout 1s;
        location / { return 204; } }"""
    )
    for server in (pair.nginx, pair.buchner):
        with Raw(server.port) as raw:
            replies = []
            for _ in range(2):
                raw.send(KEPT)
                replies.append(raw.reply())
            assert [reply.get("connection") or "keep-alive" for reply in replies] == ["keep-alive", "close"]
            assert raw.closed()
        with Raw(server.port) as raw:
            raw.send(KEPT)
            raw.reply()
            before = time.monotonic()
            assert raw.closed()
            assert 0.7 < time.monotonic() - before < 4


def test_timeouts_of_what_a_client_sends(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    pair = run_pair(
        """server { listen 127.0.0.1:PORT; client_header_timeout 1s; client_body_timeout 1s;
        location / { proxy_pass http://127.0.0.1:UP; } }""".replace("UP", str(run_upstream(answer(b"ok")).port))
    )
    for server in (pair.nginx, pair.buchner):
        for part in ("GET / HTTP/1.1\r\nHo", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"):
            with Raw(server.port) as raw:
                raw.send(part)
                before = time.monotonic()
                while raw._more():
                    pass
                assert 0.7 < time.monotonic() - before < 4, (server.file, part)
                assert raw.buffer == b"" or b" 408 " in raw.buffer


def test_large_heads_slashes_and_redirects(run_pair: RunPair, tmp_path: Path) -> None:
    (tmp_path / "root" / "dir").mkdir(parents=True)
    pair = run_pair(
        """server { listen 127.0.0.1:PORT; large_client_header_buffers 2 1k; root DIR/root; merge_slashes off;
        server_name named.example;
        location /a/b { return 200 merged; } location / { }
        location /dir { port_in_redirect off; server_name_in_redirect on; } }"""
    )
    assert pair.get("/a/b").body == b"merged"
    assert pair.get("/a//b").status == 404
    assert pair.get("/" + "x" * 2000).status == 414
    theirs, ours = pair.both(get("/a/b", ["X: " + "x" * 2000]))
    assert (theirs.status, ours.status) == (400, 400)
    assert ("location", "http://named.example/dir/") in pair.get("/dir").fields


def test_override_charset(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    up = str(run_upstream(answer("ä".encode(), "Content-Type: text/html; charset=utf-8")).port)
    pair = run_pair(
        """charset_map iso-8859-1 utf-8 { E4 C3A4; }
        server { listen 127.0.0.1:PORT; charset iso-8859-1;
        location /as-is { proxy_pass http://127.0.0.1:UP; }
        location /other { override_charset on; proxy_pass http://127.0.0.1:UP; } }""".replace("UP", up)
    )
    assert pair.get("/as-is").body == "ä".encode()
    assert pair.get("/other").body == b"\xe4"


def test_the_next_server_is_asked_for_so_long_only(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    def slow(_connection: socket.socket, _head: bytes) -> bool:
        time.sleep(1.2)
        return False

    first, second = run_upstream(slow), run_upstream(answer(b"ok"))
    ports = f"server 127.0.0.1:{first.port}; server 127.0.0.1:{second.port} backup;"
    pair = run_pair(
        f"""upstream u {{ {ports} }} server {{ listen 127.0.0.1:PORT;
        location / {{ proxy_pass http://u; }}
        location /soon {{ proxy_next_upstream_timeout 1s; proxy_pass http://u; }} }}"""
    )
    assert pair.get("/soon").status == 502
    assert pair.get("/").body == b"ok"
