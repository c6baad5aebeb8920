"""Access logs and the variables in them: Buchner and nginx on the same file write the same lines."""

from __future__ import annotations

import gzip
import re
import socket
import time
from typing import TYPE_CHECKING

import pytest

from helpers.nginx import get
from helpers.raw import Raw
from helpers.upstream import answer
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.nginx import Pair, Server
    from helpers.upstream import Upstream

FORMATS = """
log_format plain 'A|$remote_addr|$remote_user|$request|$status|$body_bytes_sent|$http_referer|$http_user_agent|$host'
    '|$args|$is_args|$arg_x|$cookie_c|$http_x_odd|$empty|$never|$uri|$request_uri|$server_name|$server_port'
    '|$server_protocol|$scheme|$https|$request_method|$content_type|$content_length|$sent_http_content_type'
    '|$sent_http_x_sent|$pipe|$request_completion|$connection_requests|$hostname|$ssl_protocol|$query_string'
    '|$document_uri|$http_host|$binary_remote_addr|$upstream_status|$invalid_referer|$msie|$proxy_protocol_addr';
log_format json escape=json '{"a":"$arg_x","h":"$http_x_odd","none":"$arg_none","u":"$uri"}';
log_format none escape=none '$arg_x|$http_x_odd|$arg_none|$uri';
server {
    listen 127.0.0.1:PORT;
    server_name test;
    set $empty "";
    set $never "";
    set $logged $arg_log;
    if ($arg_log = "") { set $logged 1; }
    location / { access_log DIR/plain-PORT.log plain; return 200 "root"; }
    location /json { access_log DIR/json-PORT.log json; return 200 "json"; }
    location /none { access_log DIR/none-PORT.log none; return 200 "none"; }
    location /if { access_log DIR/if-PORT.log plain if=$logged; return 204; }
    location /two { access_log DIR/one-PORT.log none; access_log DIR/two-PORT.log json; return 200 "x"; }
    location /off { access_log off; return 200 "x"; }
    location /combined { access_log DIR/combined-PORT.log; return 200 "x"; }
    location /named { access_log DIR/named-$arg_x-PORT.log none; return 200 "x"; }
    location /back { access_log DIR/plain-PORT.log plain; proxy_pass http://127.0.0.1:BACK; }
}
"""


def _lines(directory: Path, name: str, port: int, count: int) -> list[bytes]:
    file = directory / f"{name}-{port}.log"
    wait_for(lambda: file.exists() and file.read_bytes().count(b"\n") >= count, f"{count} lines in {file.name}")
    text = file.read_bytes().replace(str(port).encode(), b"PORT")
    return re.sub(rb"\[\d\d/[A-Z][a-z]{2}/\d{4}:[\d:]{8} [+-]\d{4}\]", b"[TIME]", text).splitlines()


@pytest.fixture
def logs(run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream]) -> Pair:
    back = run_upstream(answer(b"hello", "X-Sent: yes", "Content-Type: text/x"))
    text = FORMATS.replace("BACK", str(back.port))
    return run_pair(f"default_type text/plain;\n{text}")


REQUESTS = [
    get("/"),
    get("/?"),
    get("/?x="),
    get("/?x"),
    get("/?x=1&y=2"),
    get("/a%20b/%22c%5c%c3%a9%01?x=%22"),
    get("/", ['X-Odd: a"b\\c\td\xe9', "Referer: http://r/", "User-Agent: ua", "Cookie: c=1; d=2"]),
    get("/", ["X-Odd:", "Cookie: c="]),
    get("/", ["Authorization: Basic YW5uOnNlY3JldA==", "Content-Type: a/b"]),
    get("/?x=caf%c3%a9"),
    get("/").replace("GET", "HEAD", 1),
    get("/").replace("GET", "POST", 1).replace("\r\n\r\n", "\r\nContent-Length: 3\r\n\r\nabc"),
    "GET / HTTP/1.0\r\n\r\n",
]


@pytest.mark.parametrize("location", ["/", "/json", "/none", "/combined", "/back"])
def test_access_log_lines_are_those_of_nginx(logs: Pair, tmp_path: Path, location: str) -> None:
    sent = 0
    for request in REQUESTS:
        text = request.replace(" /", f" {location if location != '/' else ''}/", 1)
        raw = text.encode("latin-1")
        method = text.split(" ", 1)[0]
        for server in (logs.nginx, logs.buchner):
            assert server.ask(raw, method) is not None
        sent += 1
    name = "plain" if location in ("/", "/back") else location[1:]
    theirs = _lines(tmp_path, name, logs.nginx.port, sent)
    ours = _lines(tmp_path, name, logs.buchner.port, sent)
    for request, their, our in zip(REQUESTS, theirs, ours, strict=True):
        assert our == their, f"{request!r}\n nginx   {their!r}\n Buchner {our!r}"


def test_conditions_and_places(logs: Pair, tmp_path: Path) -> None:
    for target in ("/if", "/if?log=0", "/if?log=", "/if?log=00", "/if?log=x", "/two", "/off"):
        logs.get(target)
    for x in ("a", "b", "a"):
        logs.get(f"/named?x={x}")
    for name, count in (("if", 4), ("one", 1), ("two", 1), ("named-a", 2), ("named-b", 1)):
        theirs = _lines(tmp_path, name, logs.nginx.port, count)
        assert _lines(tmp_path, name, logs.buchner.port, count) == theirs
        assert len(theirs) == count, name


def test_a_client_names_no_file_elsewhere(logs: Pair, tmp_path: Path) -> None:
    (tmp_path / "named-").mkdir()
    errors = tmp_path / "buchner" / "error.log"
    reply = logs.buchner.ask(get("/named?x=/../../escaped"))
    assert reply is not None
    assert reply.status == 200
    wait_for(lambda: "no access log has the name" in errors.read_text(), "the error")
    assert not list(tmp_path.parent.glob("escaped*"))


def test_gzip_and_flush(run_pair: Callable[[str], Pair], tmp_path: Path) -> None:
    pair = run_pair("""
log_format short '$request_uri';
server {
    listen 127.0.0.1:PORT;
    location / { access_log DIR/zip-PORT.log short gzip=9 flush=100ms; return 204; }
    location /buffer { access_log DIR/buffer-PORT.log short buffer=1k flush=1h; return 204; }
}
""")
    for server in (pair.nginx, pair.buchner):
        for n in range(3):
            assert server.ask(get(f"/{n}")) is not None
        for n in range(200):
            assert server.ask(get(f"/buffer/{n:03}")) is not None
        zipped = tmp_path / f"zip-{server.port}.log"
        wait_for(lambda: zipped.exists() and zipped.stat().st_size, "the log")  # noqa: B023
        assert gzip.decompress(zipped.read_bytes()) == b"/0\n/1\n/2\n"
        buffered = tmp_path / f"buffer-{server.port}.log"
        wait_for(lambda: buffered.exists() and buffered.stat().st_size, "the log")  # noqa: B023
        text = buffered.read_bytes()
        assert text.startswith(b"/buffer/000\n/buffer/001\n")
        assert len(text) < 200 * 12, "it was not collected"


def test_syslog_gets_the_datagrams_nginx_sends(run_pair: Callable[[str], Pair], tmp_path: Path) -> None:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    unix.bind(str(tmp_path / "log.sock"))
    pair = run_pair(f"""
log_format short '$request_uri';
server {{
    listen 127.0.0.1:PORT;
    access_log syslog:server=127.0.0.1:{udp.getsockname()[1]},facility=local3,severity=notice,tag=web short;
    location / {{ return 204; }}
    location /unix {{ access_log syslog:server=unix:DIR/log.sock,nohostname short; return 204; }}
}}
""")
    for target, inbox in (("/udp", udp), ("/unix", unix)):
        inbox.settimeout(20)
        seen = []
        for server in (pair.nginx, pair.buchner):
            assert server.ask(get(target)) is not None
            seen.append(re.sub(rb">[A-Z][a-z]{2} [ \d]\d [\d:]{8} ", b">TIME ", inbox.recv(4096)))
        assert seen[0] == seen[1], seen
        assert seen[0].endswith(b": " + target.encode())
        inbox.close()


STATUS = """
server {
    listen 127.0.0.1:PORT;
    location /status { stub_status; }
    location /vars { return 200 "$connections_active $connections_reading $connections_writing $connections_waiting"; }
}
"""


def test_stub_status(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(STATUS)
    shape = (
        rb"Active connections: 1 \nserver accepts handled requests\n (\d+) (\d+) (\d+) \n"
        rb"Reading: 0 Writing: 1 Waiting: 0 \n"
    )

    def body(server: Server, target: str) -> bytes:
        reply = server.ask(get(target))
        assert reply is not None
        return reply.body

    for server in (pair.nginx, pair.buchner):
        wait_for(lambda: re.fullmatch(shape, body(server, "/status")), "one connection alone")  # noqa: B023
        found = re.fullmatch(shape, body(server, "/status"))
        assert found is not None
        assert (found[1] == found[2], int(found[3]) < int(found[1])) == (True, True), found[0]
        wait_for(lambda: body(server, "/vars") == b"1 0 1 0", "the variables")  # noqa: B023
    for method in ("POST", "HEAD", "PUT"):
        reply = pair.buchner.ask(get("/status").replace("GET", method, 1), method)
        theirs = pair.nginx.ask(get("/status").replace("GET", method, 1), method)
        assert reply is not None
        assert theirs is not None
        assert (reply.status, reply.get("content-type") if method == "HEAD" else "") == (
            theirs.status,
            theirs.get("content-type") if method == "HEAD" else "",
        )


def test_a_line_is_written_when_there_is_nothing_else_to_do(run_conf: Callable[[str], Server], tmp_path: Path) -> None:
    server = run_conf(
        'log_format uri "$uri";\nserver { listen 127.0.0.1:PORT; return 204; access_log DIR/own.log uri; '
        "access_log DIR/named$arg_n.log uri; }".replace("DIR", str(tmp_path))
    )
    began = time.monotonic()
    for n in range(8):
        assert server.ask(get(f"/{n}?n={n}")) is not None
        for name in ("own", f"named{n}"):
            log = tmp_path / f"{name}.log"
            wait_for(lambda log=log, n=n: log.exists() and f"/{n}\n" in log.read_text(), "the line")  # type: ignore[misc]
    # Once a second would be at least seven.
    assert time.monotonic() - began < 3


def test_lines_under_load_are_all_written(run_conf: Callable[[str], Server], tmp_path: Path) -> None:
    log = tmp_path / "own.log"
    server = run_conf(f'log_format uri "$uri";\nserver {{ listen 127.0.0.1:PORT; return 204; access_log {log} uri; }}')
    with Raw(server.port) as raw:
        for n in range(500):
            raw.send(f"GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")
            assert raw.reply().status == 204
    wait_for(lambda: log.read_text().splitlines() == [f"/{n}" for n in range(500)], "all lines, in order")
