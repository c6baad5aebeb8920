"""nginx's directives about HTTP/2, each by its effect; and the same asked of nginx over HTTP/2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from helpers.http2 import Http2, ResetError, get
from helpers.raw import Raw

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.nginx import Pair, Server

    RunConf = Callable[[str], Server]

PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


TWO = """
server {{ listen 127.0.0.1:PORT; server_name a; http2 {first}; return 200 a$http2; }}
server {{ listen 127.0.0.1:PORT; server_name b; http2 {second}; return 200 b$http2; }}
"""


def test_http2_is_taken_where_the_default_server_has_it(run_conf: RunConf) -> None:
    server = run_conf(TWO.format(first="on", second="off"))
    with Http2(server.port) as client:
        assert client.reply(client.ask("/", authority="a")).body == b"ah2c"
        assert client.reply(client.ask("/", authority="b")).body == b"bh2c"


def test_http2_of_another_server_is_not_asked(run_conf: RunConf) -> None:
    server = run_conf(TWO.format(first="off", second="on"))
    with Raw(server.port) as raw:
        raw.send(PREFACE)
        assert raw.reply().status in (400, 405, 505)


def test_http2_max_concurrent_streams_is_told(run_conf: RunConf) -> None:
    server = run_conf("server { listen 127.0.0.1:PORT; http2 on; http2_max_concurrent_streams 7; return 200 ok; }")
    with Http2(server.port) as client:
        assert client.get("/").status == 200
        assert client.h2.remote_settings.get(3) == 7


def test_http2_body_preread_size_is_a_stream_s_window(run_conf: RunConf) -> None:
    server = run_conf("server { listen 127.0.0.1:PORT; http2 on; http2_body_preread_size 100k; return 200 ok; }")
    with Http2(server.port) as client:
        assert client.get("/").status == 200
        assert client.h2.remote_settings.get(4) == 100 << 10


def test_http2_chunk_size_is_the_most_of_a_frame(run_conf: RunConf, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 50_000)
    server = run_conf(
        "server { listen 127.0.0.1:PORT; http2 on; root DIR;\n"
        "location /small/ { http2_chunk_size 4k; alias DIR/; } location /large/ { http2_chunk_size 1m; alias DIR/; } }"
    )
    with Http2(server.port) as client:
        for path, most in (("/small/file", 4 << 10), ("/large/file", 16 << 10)):
            stream = client.ask(path)
            assert len(client.reply(stream).body) == 50_000
            assert max(client.streams[stream].frames) == most


def test_listen_http2_takes_it_whatever_http2_says(run_conf: RunConf) -> None:
    server = run_conf("server { listen 127.0.0.1:PORT http2; http2 off; return 200 $server_protocol; }")
    assert get(server.port).body == b"HTTP/2.0"


COMPARED = """
server {
    listen 127.0.0.1:PORT http2;
    keepalive_timeout 1s;
    location / { root DIR; }
    location /vars { return 200 "$server_protocol|$http2|$host|$request|$uri|$args|$http_cookie|$content_length"; }
    location /closed { return 444; }
    location /moved { return 301 /there; }
    location /trailer/ { add_trailer X-After 1; alias DIR/; }
}
"""


ASKED: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("/vars?a=b", "GET", [("cookie", "a=1"), ("cookie", "b=2")]),
    ("/vars//x/../y", "POST", [("content-length", "0")]),
    ("/file", "GET", []),
    ("/file", "HEAD", []),
    ("/file", "GET", [("range", "bytes=1-3")]),
    ("/file", "GET", [("range", "bytes=1000-")]),
    ("/none", "GET", []),
    ("/moved", "GET", []),
    ("/trailer/file", "GET", []),
]
COMPARED_FIELDS = ("content-length", "location", "content-type", "content-range", "etag", "last-modified")


def test_requests_are_answered_as_by_nginx(run_pair: Callable[[str], Pair], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello" * 100)
    pair = run_pair(COMPARED)
    with Http2(pair.nginx.port) as nginx, Http2(pair.buchner.port) as buchner:
        for how in ASKED:
            theirs, ours = nginx.get(how[0], how[1], *how[2]), buchner.get(how[0], how[1], *how[2])
            assert (ours.status, ours.trailers) == (theirs.status, theirs.trailers), how
            if ours.status < 300:
                assert ours.body == theirs.body, how
                for name in COMPARED_FIELDS if not ours.trailers else ():
                    assert ours.get(name) == theirs.get(name), (how, name)
        for client in (nginx, buchner):
            with pytest.raises(ResetError):
                client.get("/closed")
        for client in (nginx, buchner):
            assert client.ends(5), "it is idle"
            assert client.goaway is not None
            assert client.goaway[0] == 0
