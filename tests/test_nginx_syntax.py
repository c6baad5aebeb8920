"""nginx.conf's language: what real nginx accepts is accepted, what it refuses is refused, and words are the same."""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from buchner.config import load
from buchner.errors import ConfigError, Problem
from buchner.nginx import units
from buchner.nginx.lexer import Source, tokens
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAIN = "%s\nevents { }\nhttp { access_log off; server { listen unix:DIR/s; } }\n"
EVENTS = "events { %s }\nhttp { access_log off; server { listen unix:DIR/s; } }\n"
HTTP = "events { }\nhttp { access_log off; %s\n server { listen unix:DIR/s; } }\n"
SERVER = "events { }\nhttp { access_log off; server { listen unix:DIR/s; %s\n } }\n"
LOCATION = "events { }\nhttp { access_log off; server { listen unix:DIR/s; location /x/ { %s\n } } }\n"

CASES: dict[str, list[str]] = {
    "%s": [
        "",
        "events { }",
        "events { } events { }",
        "events { } http { } http { }",
        "events { } http { server { listen unix:DIR/s;",
        "events { } http { server { listen unix:DIR/s; } } }",
        "events { } http { server { listen unix:DIR/s } }",
        "events { } http { server { listen unix:DIR/s; } ",
        "events { } http; ",
        "events { } http x { }",
        "events { } ;",
        "events { } { }",
        "\ufeffevents { } ",
        "events { } # }\nhttp { server { listen unix:DIR/s; } } # {",
        "events{}http{server{listen unix:DIR/s;}}",
        "events\n{\n}\r\nhttp\r\n{\r\nserver\t{ listen\nunix:DIR/s\n;\n}\n}\n",
        "events { } 'http' { server { \"listen\" 'unix:DIR/s'; } }",
    ],
    MAIN: [
        "daemon on;",
        "daemon maybe;",
        "daemon ON;",
        "daemon;",
        "daemon on off;",
        "daemon on; daemon on;",
        "daemon on",
        "daemon on }",
        "daemon { }",
        "nosuch on;",
        "daemon 'on';",
        "daemon 'on;",
        'daemon "on"x;',
        'daemon "on";',
        "dae\\mon on;",
        "daemon o\\n;",
        "worker_processes 2;",
        "worker_processes auto;",
        "worker_processes -1;",
        "worker_processes many;",
        "worker_rlimit_nofile 1000;",
        "worker_rlimit_nofile 1k;",
        "worker_shutdown_timeout 10s;",
        "worker_shutdown_timeout 10;",
        "worker_shutdown_timeout 1h30m;",
        "worker_shutdown_timeout '1h 30m';",
        "worker_shutdown_timeout 30m1h;",
        "worker_shutdown_timeout 1.5s;",
        "worker_shutdown_timeout 1y;",
        "worker_shutdown_timeout 1w;",
        "worker_shutdown_timeout '';",
        "worker_shutdown_timeout 500ms;",
        "worker_shutdown_timeout 1s1s;",
        "worker_shutdown_timeout '10 ';",
        "worker_shutdown_timeout ' 10';",
        "timer_resolution 100ms;",
        "pcre_jit on;",
        "pcre_jit yes;",
        "worker_priority -5;",
        "worker_priority x;",
        "thread_pool a threads=4;",
        "thread_pool a threads=0;",
        "thread_pool a;",
        "worker_cpu_affinity auto;",
        "user root;",
        "user nobodyatall;",
        "user root root;",
        "user root root root;",
        "debug_points stop;",
        "debug_points go;",
        "error_log stderr info;",
        "error_log stderr loud;",
        "error_log DIR/e.log;",
        "error_log DIR/e.log info debug_http;",
        "error_log;",
        "listen 80;",
        "include nosuch.conf;",
        "include nosuch*.conf;",
        "include;",
        "include a b;",
        "include { }",
    ],
    EVENTS: [
        "worker_connections 100;",
        "worker_connections 100k;",
        "worker_connections;",
        "multi_accept on;",
        "multi_accept 1;",
        "use epoll;",
        "use nosuch;",
        "accept_mutex_delay 1s;",
        "listen 80;",
        "daemon on;",
    ],
    HTTP: [
        "keepalive_timeout 10;",
        "keepalive_timeout 10 20;",
        "keepalive_timeout 10 20 30;",
        "keepalive_timeout soon;",
        "keepalive_timeout 0;",
        "keepalive_requests 0;",
        "keepalive_requests 1.5;",
        "client_max_body_size 1g;",
        "client_max_body_size 1G;",
        "client_max_body_size 1x;",
        "client_max_body_size -1;",
        "client_max_body_size 1M 2M;",
        "client_max_body_size 1.5m;",
        "client_max_body_size 0;",
        "client_max_body_size '';",
        "client_body_buffer_size 1g;",
        "client_body_buffer_size 16K;",
        "client_body_buffer_size 16kb;",
        "open_file_cache_valid 1M;",
        "open_file_cache_valid 100ms;",
        "open_file_cache_valid 1y2M3w4d5h6m7s;",
        "sendfile on;",
        "sendfile 1;",
        "sendfile on; sendfile off;",
        "tcp_nopush On;",
        "types { text/html html htm; text/css css; }",
        "types { text/html; }",
        "types { }",
        "types { } types { }",
        "types;",
        "default_type text/plain;",
        "default_type;",
        "default_type a b;",
        "large_client_header_buffers 4 8k;",
        "large_client_header_buffers 0 8k;",
        "large_client_header_buffers 4 8g;",
        "large_client_header_buffers 4;",
        "types_hash_max_size 2048;",
        "types_hash_max_size 2k;",
        "log_format a '$status'; ",
        "log_format a '$status'; log_format a b;",
        "log_format a;",
        "log_format combined x;",
        "access_log DIR/a.log nosuch;",
        "lingering_close always;",
        "lingering_close never;",
        "lingering_time 10;",
        "reset_timedout_connection on;",
        "server_tokens build;",
        "server_tokens off;",
        "index a b c;",
        "index;",
        "root /a; root /b;",
        "proxy_buffers 8 4k;",
        "proxy_buffers 8;",
        "proxy_http_version 1.1;",
        "proxy_http_version 2;",
        "proxy_set_header A B;",
        "proxy_set_header A;",
        "proxy_connect_timeout 5s;",
        "proxy_connect_timeout 5sec;",
        "upstream a { server 127.0.0.1:1; }",
        "upstream a { }",
        "upstream { }",
        "upstream a { server 127.0.0.1:1; } upstream a { server 127.0.0.1:1; }",
        "upstream a { server 127.0.0.1:1 weight=2 max_fails=3 fail_timeout=5s backup; server 127.0.0.1:2; }",
        "upstream a { server 127.0.0.1:1 weight=x; }",
        "upstream a { server 127.0.0.1:1 wieght=2; }",
        "upstream a { server 127.0.0.1:1 fail_timeout=1x; }",
        "upstream a { server 127.0.0.1:1; keepalive 16; }",
        "upstream a { server 127.0.0.1:1; keepalive x; }",
        "upstream a { server 127.0.0.1:1; listen 80; }",
        "upstream a { server 127.0.0.1:1; zone a 64k; }",
        "location / { }",
        "listen 80;",
        "server { listen unix:DIR/t; } ",
        "server x { listen unix:DIR/t; } ",
        "server; ",
        "gzip on;",
        "gzip off;",
        "ssl_protocols TLSv1.2 TLSv1.3;",
        "ssl_prefer_server_ciphers on;",
        "ssl_prefer_server_ciphers maybe;",
    ],
    SERVER: [
        "server_name a b *.c .d;",
        "server_name a; server_name b;",
        "server_name '';",
        "server_name;",
        "location / { } location / { }",
        "location = / { } location / { }",
        "location = / { } location = / { }",
        "location ^~ /a { } location /a { }",
        "location / { location /a { } }",
        "location /a { location /b { } }",
        "location /a { location /ab { } }",
        "location = /a { location = /a { } }",
        "location /a { location @b { return 200; } }",
        "location @a { location /b { } }",
        "location @a { return 204; } location @a { return 204; }",
        "location ! /a { }",
        "location =/a { }",
        "location ^~/a { }",
        "location /a /b /c { }",
        "location { }",
        "location /a;",
        "location /a { return 204 }",
        "location /a { return 204; } }",
        "location /a { return 204; # }\n }",
        "location / { alias /a; root /b; }",
        "location / { root /a; alias /b; }",
        "alias /a;",
        "internal;",
        "client_header_timeout 10s;",
        "underscores_in_headers on;",
        "error_page 404 /404.html;",
        "error_page 404;",
        "error_page 200 /x;",
        "error_page 600 /x;",
        "error_page x /x;",
        "error_page 500 502 503 504 /50x.html;",
        "listen unix:DIR/s;",
        "listen unix:DIR/t default_server; listen unix:DIR/u backlog=10;",
        "listen unix:DIR/t backlog=x;",
        "listen unix:DIR/t nosuch;",
        "listen 127.0.0.1:18003-18000;",
        "listen 18003-18000;",
        "listen 127.0.0.1:65535-65536;",
        "listen 127.0.0.1:18000-;",
        "listen 127.0.0.1:0-3;",
        "listen 127.0.0.1:18000-18000;",
        "listen 127.0.0.1:18000-18002;",
        "listen 127.0.0.1:18000-18001 default_server;",
        "listen 127.0.0.1:18000 setfib=1;",
        "listen 127.0.0.1:18000 accept_filter=dataready;",
        "listen 127.0.0.1:18000 rcvbuf=16k sndbuf=16k fastopen=3;",
        "listen 127.0.0.1:18000 rcvbuf=x;",
        "listen 127.0.0.1:18000 sndbuf=x;",
        "listen 127.0.0.1:18000 fastopen=x;",
        "listen 127.0.0.1:18000 deferred=1;",
        "listen 127.0.0.1:18000 so_keepalive=on;",
        "listen 127.0.0.1:18000 so_keepalive=x;",
        "listen 127.0.0.1:18000 so_keepalive=;",
        "listen 127.0.0.1:18000 so_keepalive=::;",
        "listen 127.0.0.1:18000 so_keepalive=30m::10;",
        "listen 127.0.0.1:18000 so_keepalive=30m:10;",
        "listen 127.0.0.1:18000 so_keepalive=30m;",
        "listen 127.0.0.1:18000 so_keepalive=0:0:0;",
        "listen 127.0.0.1:18000 so_keepalive=30x::10;",
        "listen 127.0.0.1:18000 so_keepalive=::x;",
        "listen 127.0.0.1:18000 reuseport;",
        "listen 127.0.0.1:18000 bind deferred;",
        "listen 127.0.0.1:18000 bind=1;",
        "listen 127.0.0.1:18000 backlog=5;",
        "listen *:18000;",
        "listen localhost:18000;",
        "listen;",
        "return 204;",
        "return;",
        "return 99999;",
        "return x;",
        "return 200 a b;",
        "return 301 /x;",
        "return http://x/;",
        "return $scheme://x;",
        "keepalive_timeout 5; keepalive_timeout 6;",
    ],
    LOCATION: [
        "proxy_pass http://127.0.0.1:1;",
        "proxy_pass http://127.0.0.1:1/;",
        "proxy_pass http://unix:/tmp/x:/y;",
        "proxy_pass 127.0.0.1:1;",
        "proxy_pass ftp://x;",
        "proxy_pass http://;",
        "proxy_pass http://127.0.0.1:99999;",
        "proxy_pass http://127.0.0.1:1 http://127.0.0.1:2;",
        "proxy_pass http://127.0.0.1:1; proxy_pass http://127.0.0.1:2;",
        "internal;",
        "internal; internal;",
        "internal on;",
        "internal { }",
        "expires 30d;",
        "expires -1;",
        "expires max;",
        "expires off;",
        "expires soon;",
        "expires epoch;",
        "add_header A B;",
        "add_header A B always;",
        "add_header A B never;",
        "add_header A;",
        "etag off;",
        "etag none;",
        "root /a;",
        "root;",
        "client_header_timeout 10s;",
        "server_name a;",
        "listen 80;",
        "server { }",
        "return 200 $nosuch;",
        "return 200 ${uri}x;",
        "return 200 ${uri;",
        "return 200 $;",
        "return 200 'a;b{c}d';",
        "return 200 a}b;",
        "return 200 {;",
        "return 200 a{;",
        "access_log off;",
        "access_log DIR/a.log;",
        "access_log DIR/a.log combined buffer=32k flush=1s;",
        "access_log DIR/a.log combined buffer=x;",
        "access_log;",
        "error_log DIR/e.log;",
    ],
}


def accepted(nginx: str, directory: Path, text: str) -> tuple[bool, str]:
    """Whether nginx takes a file, and what it says."""
    path = directory / "nginx.conf"
    path.write_text(f"pid {directory}/pid;\n{text}" if not text.startswith("\ufeff") else text)
    done = subprocess.run(
        [nginx, "-t", "-q", "-e", "stderr", "-p", str(directory), "-c", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode == 0, done.stderr


def problems(path: Path) -> list[str]:
    try:
        load(path)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


DIFFERENCES = {"events { }"}
"""A file that serves nothing: nginx runs it, here it is an error."""


@pytest.mark.parametrize("template", CASES, ids=["whole", "main", "events", "http", "server", "location"])
def test_nginx_and_buchner_agree_on_what_is_right(
    template: str, tmp_path: Path, require_peer: Callable[[str], str]
) -> None:
    nginx = require_peer("nginx")
    different = []
    for case in CASES[template]:
        text = template.replace("%s", case).replace("DIR", str(tmp_path))
        theirs, said = accepted(nginx, tmp_path, text)
        ours = problems(tmp_path / "nginx.conf")
        if (theirs != (not ours)) != (case in DIFFERENCES):
            different.append(f"{case!r}: nginx {'accepts it' if theirs else said}; we: {ours or 'accept it'}")
    assert not different, "\n".join(different)


def words(text: str) -> list[str]:
    found: list[Problem] = []
    return [token.text for token in tokens(Source("x", text), found) if not found]


WORDS = [
    r"b",
    r"b\ c",
    r"b\;c\{d",
    r"b\\c",
    r"b\tc\rd",
    r"b\nc",
    r"b\qc\.d",
    r"b\"c\'d",
    r"b\#c#d",
    r"\#b",
    r"\ b",
    r"'b\${request_method}'",
    r"b'c\"d",
    r"b}c",
    r"'b c'",
    r"'b;c{d}e'",
    r"'b\'c'",
    r"'b\"c'",
    r"'b\\'",
    r"'b\nc\td'",
    r"'b\qc'",
    r'"b c"',
    r'"b\"c\'d"',
    r'"b\\"',
    r'"b\;c"',
    r'"b#c"',
    r'"b' + "\n" + r'c"',
    r"${request_method}b",
    r"'${request_method}b'",
    r"b${request_method}",
    "bü",
    r"''",
]


def test_words_are_what_nginx_makes_of_them(tmp_path: Path, require_peer: Callable[[str], str]) -> None:
    nginx = require_peer("nginx")
    path = tmp_path / "s"
    # quotes around the answer show where it begins and ends
    locations = "".join(f"location = /{index} {{ return 200 {word}; }}\n" for index, word in enumerate(WORDS))
    text = LOCATION.replace("location /x/ { %s\n }", locations).replace("DIR", str(tmp_path))
    (tmp_path / "nginx.conf").write_text(f"daemon off; master_process off; pid {tmp_path}/pid;\n{text}")
    with subprocess.Popen([nginx, "-e", "stderr", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]) as process:
        try:
            wait_for(path.exists, "nginx's socket", 20)
            for index, word in enumerate(WORDS):
                expected = words(f"x {word};")[1].replace("${request_method}", "GET")
                assert asked(path, f"/{index}").decode() == expected, word
        finally:
            process.terminate()


def asked(path: Path, target: str) -> bytes:
    """The body of an answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        with client.makefile("rb") as answer:
            return answer.read().partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b;", ["a", "b", ";"]),
        ("a{b;}", ["a", "{", "b", ";", "}"]),
        ("a # b;\n;", ["a", ";"]),
        ("a#b ;", ["a#b", ";"]),
        ("a ${b}c;", ["a", "${b}c", ";"]),
        ("a ${{b;", ["a", "${{b", ";"]),
        ("if ('a' = \"b\"){", ["if", "('a'", "=", "b", ")", "{"]),
        ('a "b c;{}" ;', ["a", "b c;{}", ";"]),
        ('a "";', ["a", "", ";"]),
        ('a b"c;', ["a", 'b"c', ";"]),
        ("a b\\", ["a", "b\\"]),
    ],
)
def test_marks_stand_where_nginx_finds_them(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_positions_count_lines_and_columns() -> None:
    found = list(tokens(Source("x", 'a "b\nc" d;\n  é f;'), []))
    assert [(token.text, token.line, token.column) for token in found if not token.mark] == [
        ("a", 1, 1),
        ("b\nc", 1, 3),
        ("d", 2, 4),
        ("é", 3, 3),
        ("f", 3, 5),
    ]


EVERYTHING_WRONG = """\
F:1:1: the block of "server" is not closed by "}"
  1 | server {
    | ^^^^^^
F:2:9: "0.0.0.0:80800" has no valid port: a number up to 65535 is one
  2 |  listen 80800;
    |         ^^^^^
F:3:27: unexpected "5" behind the closing ": a space or ";" belongs there
  3 |  location / { return "200"5; }
    |                           ^
F:4:2: unknown directive "nosuch"
  4 |  nosuch on;
    |  ^^^^^^
F:5:2: the file ends before the ";" of "root"
  5 |  root "/a
    |  ^^^^
F:5:7: this " is not closed: the file ends before another one
  5 |  root "/a
    |       ^"""


def test_all_problems_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text('server {\n\tlisten 80800;\n\tlocation / { return "200"5; }\n\tnosuch on;\n\troot "/a\n}\n')
    shown = "\n".join(problem.replace(str(path), "F") for problem in problems(path))
    assert shown == EVERYTHING_WRONG


def test_bytes_that_are_not_utf8_are_fine_in_comments_only(tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    path.write_bytes(b"# caf\xe9\nserver { listen 8080; return 200 x; }\n")
    assert problems(path) == []
    path.write_bytes(b"server { listen 8080; return 200 caf\xe9; }\n")
    (problem,) = problems(path)
    assert 'nginx.conf:1:34: "caf\ufffd" has bytes that are not UTF-8' in problem


def test_includes_start_at_the_main_file_and_patterns_are_sorted(
    tmp_path: Path, require_peer: Callable[[str], str]
) -> None:
    nginx = require_peer("nginx")
    sub = tmp_path / "sub"
    sub.mkdir()
    (sub / "b.conf").write_text("include sub/deep/*.inc; location /b { }\n")
    (sub / "a.conf").write_text("location /a { }\n")
    (sub / ".hidden.conf").write_text("nosuch;\n")
    (sub / "deep").mkdir()
    (sub / "deep" / "[x].inc").write_text("location /x { }\n")
    text = SERVER.replace("%s", "include sub/*.conf; include sub/*.nosuch; include sub/[a].conf;")
    theirs, said = accepted(nginx, tmp_path, text.replace("DIR", str(tmp_path)))
    assert not theirs
    assert 'duplicate location "/a"' in said
    (problem,) = problems(tmp_path / "nginx.conf")
    assert "sub/a.conf:1:10: " in problem
    (tmp_path / "nginx.conf").write_text((tmp_path / "nginx.conf").read_text().replace("include sub/[a].conf;", ""))
    loaded = load(tmp_path / "nginx.conf")
    assert [route["path"] for route in loaded.plan["server"][0]["route"]] == ["/a", "/x", "/b", "/"]
    assert [path.name for path in loaded.files] == ["nginx.conf", "a.conf", "b.conf", "[x].inc"]


def test_an_include_that_comes_back_to_itself_is_told_with_the_way(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text("include a.conf;\nserver { listen 8080; }\n")
    (tmp_path / "a.conf").write_text("include *.conf;\n")
    assert [
        problem.partition("\n")[0].replace(str(tmp_path), "D") for problem in problems(tmp_path / "nginx.conf")
    ] == [
        'D/a.conf:1:9: "D/a.conf" includes itself: a.conf → a.conf',
        'D/a.conf:1:9: "D/nginx.conf" includes itself: nginx.conf → a.conf → nginx.conf',
    ]


@pytest.mark.parametrize(
    ("text", "seconds", "expected"),
    [
        ("60", False, 60_000),
        ("500ms", False, 500),
        ("1h 30m", False, 5_400_000),
        ("1d12h", False, 129_600_000),
        ("1m30", False, 90_000),
        ("10 500ms", False, None),
        ("1M", False, None),
        ("1M", True, 2_592_000_000),
        ("1y2M3w4d5h6m7s", True, 38_898_367_000),
        ("100ms", True, None),
        ("1s1m", False, None),
        ("", False, None),
        ("m", False, None),
        ("-1", False, None),
        ("1.5s", False, None),
        ("٣", False, None),
    ],
)
def test_times(text: str, seconds: bool, expected: int | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="is not a time"):
            units.milliseconds(text, seconds=seconds)
    else:
        assert units.milliseconds(text, seconds=seconds) == expected
