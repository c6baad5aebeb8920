"""What inner blocks have of directives that make lists: as nginx, for every choice of blocks that repeat them."""

from __future__ import annotations

import gzip
import re
from itertools import compress, product
from typing import TYPE_CHECKING

import pytest

from helpers.nginx import get
from helpers.wait import wait_for

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from helpers.nginx import Answer, Pair
    from helpers.upstream import Upstream

    RunPair = Callable[[str], Pair]
    RunUpstream = Callable[..., Upstream]

LEVELS = "hslni"
"""http, server, location, the location within it, and an `if` there: the directives of each bear its letter."""
IN_HTTP = pytest.mark.parametrize("in_http", [False, True], ids=["", "http"])


def every_choice(template: str, lines: Callable[[str], str], in_http: bool) -> tuple[str, list[str]]:
    """Return servers and their names: one for each choice of blocks that have the lines.

    In the template, NAME is the server's name, and the letters S, L, N and I stand alone where a block's lines go.
    """
    conf = lines("h") if in_http else ""
    names: list[str] = []
    for choice in product((False, True), repeat=4):
        repeated = "".join(compress("slni", choice))
        names.append(f"in{len(names)}.test")
        text = template.replace("NAME", names[-1])
        for level in "slni":
            text = re.sub(rf"(?<= ){level.upper()}(?=\s)", lines(level) if level in repeated else "", text)
        conf += text
    return conf, names


IN_IF = """
    add_header X-Added {0}; add_header X-Added-{0} yes always;
    add_trailer X-Trailer {0};
    error_page 404 =200 /error/{0};
"""
LISTS = (
    IN_IF
    + """
    proxy_set_header X-Set {0}; proxy_set_header X-Set-{0} yes;
    proxy_hide_header X-Hide-{0};
    proxy_redirect http://{0}.example/ /new-{0}/;
    proxy_cookie_path /{0} /new-{0};
    proxy_cookie_domain {0}.example new-{0}.example;
    proxy_cookie_flags {0} secure;
    sub_filter mark-{0} done-{0};
    index {0}.txt;
    deny 10.0.0.{1}; allow 10.0.1.{1}; deny 10.0.1.0/24;
"""
)
SERVER = """
server {
    listen 127.0.0.1:PORT; server_name NAME; root DIR/root;
    set_real_ip_from 127.0.0.1; real_ip_header X-Real;
    S
    location /error { return 200 $uri; }
    location / {
        L
        proxy_pass http://127.0.0.1:UP;
        location /n { N proxy_pass http://127.0.0.1:UP; if ($arg_i) { I } }
    }
    location /files/ { L location /files/n/ { N } }
}
"""


def lists(level: str) -> str:
    return (IN_IF if level == "i" else LISTS).format(level, LEVELS.index(level) + 1)


def shows_all(connection: socket.socket, head: bytes) -> bool:
    """Answer with what each of the directives could change, and with the fields that came."""
    came = sorted(line for line in head.decode().lower().split("\r\n") if line.startswith(("x-set", "host")))
    body = " ".join([*came, *(f"mark-{level}" for level in LEVELS)]).encode()
    fields = [f"Content-Length: {len(body)}", "Content-Type: text/html"]
    for level in LEVELS:
        fields.append(f"X-Hide-{level}: yes")
        fields.append(f"Set-Cookie: {level}=1; Path=/{level}; Domain={level}.example")
    to = head.split(b"to=")[1][:1].decode() if b"to=" in head else ""
    status = "302 Found" if to else "404 Not Found" if b"lost" in head else "200 OK"
    fields += [f"Location: http://{to}.example/a"] if to else []
    connection.sendall("\r\n".join([f"HTTP/1.1 {status}", *fields]).encode() + b"\r\n\r\n" + body)
    return False


@IN_HTTP
def test_lists_are_inherited_as_in_nginx(
    in_http: bool, run_pair: RunPair, run_upstream: RunUpstream, tmp_path: Path
) -> None:
    for directory in ("files", "files/n"):
        (tmp_path / "root" / directory).mkdir(parents=True)
        for level in LEVELS:
            (tmp_path / "root" / directory / f"{level}.txt").write_text(f"{directory} {level}")
    conf, names = every_choice(SERVER, lists, in_http)
    pair = run_pair(f"proxy_intercept_errors on; {conf}".replace("UP;", f"{run_upstream(shows_all).port};"))
    targets = [
        f"{path}{query}" for path in ("/a?", "/n?", "/n?i=1&") for query in ("", "lost", *(f"to={x}" for x in LEVELS))
    ]
    seen = set()
    for name in names:
        for target in [*targets, "/files/", "/files/n/"]:
            seen.add(str(pair.get(target, host=name)))
        for target in ("/a", "/n", "/n?i=1"):
            for number in range(1, len(LEVELS) + 1):
                for network in range(2):
                    seen.add(str(pair.get(target, f"X-Real: 10.0.{network}.{number}", host=name)))
    assert len(seen) > 50


IGNORED = {
    "h": "X-Accel-Redirect",
    "s": "X-Accel-Charset",
    "l": "X-Accel-Limit-Rate",
    "n": "X-Accel-Redirect X-Accel-Charset",
}
PASSED = {"h": "X-Pad", "s": "X-Accel-Expires", "l": "X-Accel-Charset", "n": "X-Accel-Limit-Rate"}
NEXT = {"h": "error", "s": "error http_404", "l": "http_403", "n": "http_500 http_404"}
ANSWERS = """
upstream both { server 127.0.0.1:FIRST max_fails=0; server 127.0.0.1:SECOND backup; }
server {
    listen 127.0.0.1:PORT; server_name NAME;
    add_header X-Rate $limit_rate;
    S
    location /inner { return 200 inner; }
    location / {
        L
        proxy_pass http://both;
        location /n { N proxy_pass http://both; }
    }
}
"""


def of_answers(level: str) -> str:
    if level == "i":
        return ""
    return f"""
    proxy_ignore_headers {IGNORED[level]};
    proxy_pass_header {PASSED[level]};
    proxy_next_upstream {NEXT[level]};
    sub_filter_types text/x-{level};
    """


def shows_fields(connection: socket.socket, head: bytes) -> bool:
    """Answer with the fields that only the front end reads; `?404` asks for a status, `?x-h` for a type, `?accel`."""
    asked = head.split(b" ")[1].partition(b"?")[2].decode()
    status = asked if asked.isdigit() else "200"
    kind = f"text/{asked}" if asked.startswith("x-") else "text/html"
    fields = ["X-Pad: pad", "X-Accel-Expires: 5", "X-Accel-Charset: koi8-r"]
    # nginx keeps the rate that a server asked for whose answer it does not take
    fields += ["X-Accel-Limit-Rate: 100000"] if status == "200" else []
    fields += ["X-Accel-Redirect: /inner"] if asked == "accel" else []
    lines = [f"HTTP/1.1 {status} Told", "Content-Length: 4", f"Content-Type: {kind}", *fields]
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\nmark")
    return False


@IN_HTTP
def test_lists_about_the_answers_of_upstreams(in_http: bool, run_pair: RunPair, run_upstream: RunUpstream) -> None:
    def second(connection: socket.socket, _head: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond")
        return False

    upstreams, servers = ANSWERS.split("server {\n", 1)
    conf, names = every_choice("server {\n" + servers, of_answers, in_http)
    ports = {"FIRST": run_upstream(shows_fields).port, "SECOND": run_upstream(second).port}
    conf = f"sub_filter mark done; {upstreams} {conf}"
    for name, port in ports.items():
        conf = conf.replace(name, str(port))
    pair = run_pair(conf)
    seen = set()
    for name in names:
        for path in ("/a", "/n"):
            for query in ("", "accel", "403", "404", "500", *(f"x-{level}" for level in LEVELS)):
                seen.add(str(pair.get(f"{path}?{query}", host=name)))
    assert len(seen) > 30


FILES = """
server {
    listen 127.0.0.1:PORT; server_name NAME; root DIR/root;
    S
    location /files/ { L location /files/n/ { N } }
}
"""


def of_files(level: str) -> str:
    if level == "i":
        return ""
    return f"types {{ text/x-{level} {level}; text/x-common{level} common; }} gzip_types text/x-{level} text/x-commonl;"


@IN_HTTP
def test_types_of_files(in_http: bool, run_pair: RunPair, tmp_path: Path) -> None:
    names_of_files = [f"a.{end}" for end in (*LEVELS, "common", "html")]
    for directory in ("files", "files/n"):
        (tmp_path / "root" / directory).mkdir(parents=True)
        for name in names_of_files:
            (tmp_path / "root" / directory / name).write_text("text " * 20)
    conf, names = every_choice(FILES, of_files, in_http)
    pair = run_pair(f"gzip on; gzip_min_length 1; default_type text/x-none; {conf}")

    def shown(answer: Answer) -> tuple[object, ...]:
        packed = ("content-encoding", "gzip") in answer.fields
        return answer.status, answer.fields, gzip.decompress(answer.body) if packed else answer.body

    seen = set()
    for name in names:
        for path in ("/files/", "/files/n/"):
            for file in names_of_files:
                theirs, ours = pair.both(get(path + file, ["Accept-Encoding: gzip"], name))
                assert shown(ours) == shown(theirs), (name, path + file)
                seen.add(str(shown(theirs)))
    assert len(seen) > 7


ACCESS = """
server {
    listen 127.0.0.1:PORT; server_name NAME;
    real_ip_header X-Real; real_ip_recursive on;
    set $h ""; set $s ""; set $l ""; set $n "";
    auth_request /auth;
    add_header X-Auth "$h$s$l$n $remote_addr";
    S
    location = /auth { auth_request off; access_log off; return 204; }
    location / {
        L
        proxy_pass http://127.0.0.1:UP;
        location /n { N proxy_pass http://127.0.0.1:UP; if ($arg_i) { I } }
    }
}
"""


def of_access(level: str) -> str:
    log = f"access_log DIR/{level}-PORT.log uri; access_log DIR/also{level}-PORT.log uri;"
    if level == "i":
        return log
    trusted = f"set_real_ip_from 127.0.0.1; set_real_ip_from 10.0.{LEVELS.index(level)}.0/24;"
    held = {"l": "limit_except GET { deny all; }", "n": "limit_except POST { deny all; }"}.get(level, "")
    return f"{log} {trusted} {held} auth_request_set ${level} {level};"


@IN_HTTP
def test_lists_about_who_may_come_and_what_is_logged(
    in_http: bool, run_pair: RunPair, run_upstream: RunUpstream, tmp_path: Path
) -> None:
    conf, names = every_choice(ACCESS, of_access, in_http)
    pair = run_pair(f"log_format uri '$host$request_uri'; {conf}".replace("UP;", f"{run_upstream(shows_all).port};"))
    seen = set()
    for name in names:
        for target in ("/a", "/n", "/n?i=1"):
            for level in range(len(LEVELS)):
                seen.add(str(pair.get(target, f"X-Real: 9.9.9.9, 10.0.{level}.1", host=name)))
            for method in ("POST", "PUT"):
                request = get(target, ["Content-Length: 0"], name).replace("GET", method, 1)
                seen.add(str(pair.same(request, method).status))
    assert len(seen) > 10
    # a line for each request, but for those that no block of their server logs
    wait_for(lambda: logged(tmp_path, pair.buchner.port) == logged(tmp_path, pair.nginx.port), "the same lines")
    assert len(logged(tmp_path, pair.nginx.port)) > 5


def logged(directory: Path, port: int) -> dict[str, list[str]]:
    """Return the lines of the logs of a server that have any, by the file's name without its port."""
    lines = {file.name.split("-")[0]: file.read_text().split() for file in directory.glob(f"*-{port}.log")}
    return {name: sorted(found) for name, found in lines.items() if found}
