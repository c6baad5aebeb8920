"""uwsgi_pass, fastcgi_pass and scgi_pass: Buchner and nginx on the same file tell applications and clients the same."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from buchner.config import load
from buchner.errors import ConfigError
from helpers.cgi import Cgi, Request
from helpers.gateway import free_port
from helpers.nginx import Pair, get
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

RunPair = Callable[[str], Pair]
FAMILIES = ("uwsgi", "fastcgi", "scgi")
SERVER = """
FAMILY_param OUTER above;
FAMILY_param REPLACED above;
server {
    listen 127.0.0.1:PORT;
    server_name shop.test;
    root /srv;
    FAMILY_param FROM_SERVER $server_port;
    %s
}
"""


@pytest.fixture
def cgi() -> Iterator[Cgi]:
    upstream = Cgi()
    yield upstream
    upstream.close()


def config(family: str, text: str, port: int) -> str:
    return (SERVER % text).replace("FAMILY", family).replace("UP", f"127.0.0.1:{port}")


def told(pair: Pair, cgi: Cgi, request: str, method: str = "GET") -> dict[str, str]:
    """Send a request to both; the application must be told the same. Returns the variables."""
    before = len(cgi.requests)
    pair.same(request, method)
    theirs, ours = (_comparable(each, port) for each, port in zip(cgi.requests[before:], _ports(pair), strict=True))
    names = theirs[0].keys() | ours[0].keys()
    differ = {name: (theirs[0].get(name), ours[0].get(name)) for name in names}
    assert {name: pair for name, pair in differ.items() if pair[0] != pair[1]} == {}
    assert ours == theirs
    return theirs[0]


def _ports(pair: Pair) -> tuple[int, int]:
    return pair.nginx.port, pair.buchner.port


def _comparable(request: Request, port: int) -> tuple[dict[str, str], bytes, tuple[int, int], bool]:
    params = {name: value.replace(str(port), "PORT") for name, value in request.params.items()}
    # Hop by hop: the client's word for the gateway stays here (RFC 9110 section 7.6.1). SCGI's own is always there.
    for name in ("HTTP_CONNECTION", "HTTP_TRANSFER_ENCODING", "REMOTE_PORT", "SCGI"):
        params.pop(name, None)
    return params, request.body, request.modifiers, request.keep


def plain(_: Request) -> bytes:
    return b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_application_is_told_the_same(run_pair: RunPair, cgi: Cgi, family: str) -> None:
    cgi.script = plain
    included = "FAMILY.conf" if family == "fastcgi" else "FAMILY_params"
    pair = run_pair(
        config(
            family,
            f"""
    location / {{ FAMILY_pass UP; include /etc/nginx/{included};
                  FAMILY_param E $arg_e if_not_empty;
                  FAMILY_param SERVER_SOFTWARE x; FAMILY_param REPLACED here;
                  FAMILY_param HTTP_X_SET "by $request_method"; }}
    location /inherited {{ FAMILY_pass UP; }}
    location /bare {{ FAMILY_pass UP; FAMILY_param A b;
                      FAMILY_pass_request_headers off; FAMILY_pass_request_body off; }}
    location /if {{ if ($arg_x) {{ FAMILY_pass UP; }} }}
""",
            cgi.port,
        )
    )
    params = told(pair, cgi, get("/a%20b//c?e=&f", ["X-Set: client", "Cookie: a=b", "X_Under: 1"]))
    assert params["HTTP_X_SET"] == "by GET"
    assert "E" not in params
    assert told(pair, cgi, get("/?e=1"))["E"] == "1"
    assert told(pair, cgi, get("/inherited", ["Content-Type: a/b"]))["FROM_SERVER"] == "PORT"
    # To SCGI nginx announces the body that it keeps to itself.
    for path in ("/", "/bare") if family != "scgi" else ("/",):
        body = "POST %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n%s\r\n"
        told(pair, cgi, body % (path, "Content-Length: 3\r\n") + "abc", "POST")
    told(
        pair,
        cgi,
        "POST / HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    )
    told(pair, cgi, get("/if?x=1"))
    assert pair.get("/if").status == 404


RESPONSES = {
    "status": "Status: 404 Not Here\r\nContent-Type: text/plain\r\n\r\nno",
    "location": "Location: /there\r\n\r\n",
    "absolute": "Location: http://else/\r\nStatus: 307 Moved\r\n\r\n",
    "http": "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok",
    "lf": "Content-Type: text/plain\n\nok",
    "hidden": "X-Hidden: 1\r\nX-Shown: 1\r\nX-Accel-Expires: 5\r\nServer: app\r\n\r\nok",
    "accel": "X-Accel-Redirect: /internal\r\n\r\n",
    "error": "Status: 500 Oops\r\n\r\nmine",
    "head": "Content-Length: 5\r\n\r\nhello",
    "empty": "Status: 204\r\n\r\n",
    "bad": "Status: nothing\r\n\r\n",
    "none": "",
}


OWN_WAY = {
    ("uwsgi", "status"): "nginx passes Status on as a field",
    ("uwsgi", "absolute"): "the same",
    ("uwsgi", "error"): "the same",
    ("uwsgi", "empty"): "the same",
    ("uwsgi", "bad"): "nginx passes it on with 200",
    ("fastcgi", "http"): "nginx knows no status line in FastCGI, and says 200",
}
"""Where Buchner answers otherwise, and what nginx does."""


@pytest.mark.parametrize("family", FAMILIES)
def test_clients_get_the_same(run_pair: RunPair, cgi: Cgi, family: str) -> None:
    cgi.script = lambda request: RESPONSES[request.params["QUERY_STRING"]].encode()
    pair = run_pair(
        config(
            family,
            """
    FAMILY_param QUERY_STRING $query_string;
    FAMILY_param REQUEST_METHOD $request_method;
    error_page 500 502 = @error;
    location @error { return 200 "page"; }
    location /internal { return 200 "internal"; }
    location / { FAMILY_pass UP; }
    location /hide { FAMILY_pass UP; FAMILY_hide_header X-Hidden; FAMILY_pass_header X-Accel-Expires; }
    location /ignore { FAMILY_pass UP; FAMILY_ignore_headers X-Accel-Redirect; }
    location /intercept { FAMILY_pass UP; FAMILY_intercept_errors on; }
    location /ranges { FAMILY_pass UP; FAMILY_force_ranges on; }
""",
            cgi.port,
        )
    )
    for what in RESPONSES:
        if (family, what) not in OWN_WAY:
            pair.get(f"/?{what}")
    head = get("/?head").replace("GET", "HEAD", 1)
    pair.same(head, "HEAD")
    for target in ("/hide?hidden", "/ignore?accel", "/intercept?error", "/intercept?lf"):
        pair.get(target)
    assert pair.get("/ranges?head", "Range: bytes=1-2").status == 206
    assert pair.get("/?head", "Range: bytes=1-2").status == 200


def settings_of(tmp_path: Path, directives: str) -> dict[str, Any]:
    """Return the settings of the location that has these directives."""
    file = tmp_path / "nginx.conf"
    file.write_text(f"events {{}} http {{ server {{ listen 127.0.0.1:8123; location /a {{ {directives} }} }} }}")
    plan = load(file).plan
    (route,) = (route for route in plan["server"][0]["route"] if route["path"] == "/a")
    settings: dict[str, Any] = plan["settings"][route["settings"]]
    return settings


SHARED = {
    "connect_timeout": "7s",
    "send_timeout": "7s",
    "read_timeout": "7s",
    "buffering": "off",
    "request_buffering": "off",
    "intercept_errors": "on",
    "pass_request_headers": "off",
    "pass_request_body": "off",
    "hide_header": "X-A",
    "pass_header": "X-Pad",
    "ignore_headers": "Expires",
    "next_upstream": "http_503 non_idempotent",
    "next_upstream_timeout": "7s",
    "next_upstream_tries": "7",
    "bind": "127.0.0.1",
    "limit_rate": "7k",
    "force_ranges": "on",
    "ignore_client_abort": "on",
    "socket_keepalive": "on",
    "max_temp_file_size": "7m",
}


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_family_shares_with_proxy_does_the_same(tmp_path: Path, family: str, name: str) -> None:
    value = SHARED[name]
    ours = settings_of(tmp_path, f"{family}_pass 127.0.0.1:1; {family}_{name} {value};")
    theirs = settings_of(tmp_path, f"proxy_pass http://127.0.0.1:1; proxy_{name} {value};")
    without = settings_of(tmp_path, f"{family}_pass 127.0.0.1:1;")
    changed = {key for key in ours if ours[key] != without.get(key)}
    assert len(changed) == 1
    assert {key: ours[key] for key in changed} == {key: theirs[key] for key in changed}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_proxy_says_around_is_not_said_of_a_family(tmp_path: Path, family: str) -> None:
    file = tmp_path / "nginx.conf"
    file.write_text(
        "events {} http { proxy_read_timeout 9s; proxy_hide_header X-A; server { listen 127.0.0.1:8123; "
        f"{family}_read_timeout 7s; location /a {{ {family}_pass 127.0.0.1:1; }} "
        f"location /b {{ {family}_pass 127.0.0.1:1; {family}_read_timeout 8s; }} "
        "location /c { proxy_pass http://127.0.0.1:2; } } server { listen 127.0.0.1:8124; "
        f"location /d {{ {family}_pass 127.0.0.1:1; }} }} }}"
    )
    plan = load(file).plan
    routes = {
        route["path"]: plan["settings"][route["settings"]] for server in plan["server"] for route in server["route"]
    }
    timeouts = {path: routes[path]["read_timeout"] for path in ("/a", "/b", "/c", "/d")}
    assert timeouts == {"/a": 7000, "/b": 8000, "/c": 9000, "/d": 60_000}
    assert [routes[path].get("proxy_hide_headers") for path in ("/a", "/c")] == [[], ["X-A"]]


def test_modifiers(run_pair: RunPair, cgi: Cgi) -> None:
    cgi.script = plain
    text = "location / { FAMILY_pass UP; uwsgi_modifier1 5; uwsgi_modifier2 7; }"
    pair = run_pair(config("uwsgi", text, cgi.port))
    told(pair, cgi, get("/"))
    assert cgi.requests[-1].modifiers == (5, 7)


def test_scripts_are_found_as_by_nginx(run_pair: RunPair, cgi: Cgi) -> None:
    cgi.script = plain
    params = "fastcgi_param S $fastcgi_script_name; fastcgi_param I $fastcgi_path_info; fastcgi_pass UP;"
    text = f"""
    fastcgi_index index.php;
    location / {{ {params} }}
    location /split/ {{ {params} fastcgi_split_path_info ^(.+\\.php)(/.*)?$; fastcgi_index other.php; }}
"""
    pair = run_pair(config("fastcgi", text, cgi.port))
    for path in ("/", "/a.php", "/a.php/b", "/split/", "/split/a.php/b/c", "/split/a.php", "/split/a"):
        told(pair, cgi, get(path))
    assert told(pair, cgi, get("/split/x.php/y/")) == {
        "S": "/split/x.php", "I": "/y/", "HTTP_HOST": "test"
    }  # fmt: skip


def test_connections_of_fastcgi_are_kept_as_by_nginx(run_pair: RunPair, cgi: Cgi) -> None:
    cgi.script = plain
    text = """
    location / { FAMILY_pass group; }
    location /keep { FAMILY_pass group; fastcgi_keep_conn on; }
"""
    upstream = f"upstream group {{ server 127.0.0.1:{cgi.port}; keepalive 4; }}"
    pair = run_pair(upstream + config("fastcgi", text, cgi.port))
    counts = []
    for path in ("/", "/keep"):
        for server in (pair.nginx, pair.buchner):
            before = cgi.connections
            for _ in range(3):
                reply = server.ask(get(path))
                assert reply
                assert reply.body == b"ok"
            counts.append(cgi.connections - before)
    assert counts == [3, 3, 1, 1]
    assert [request.keep for request in cgi.requests] == [False] * 6 + [True] * 6


def test_stderr_spoils_a_response_as_with_nginx(run_pair: RunPair, cgi: Cgi) -> None:
    head = b"Content-Type: text/plain\r\n\r\n"
    cgi.script = lambda _: [(7, b"PHP Fatal error: x"), (6, head), (6, b"ok"), (6, b""), (3, bytes(8))]
    text = "location / { FAMILY_pass UP; } location /catch { FAMILY_pass UP; fastcgi_catch_stderr 'PHP Fatal'; }"
    pair = run_pair(config("fastcgi", text, cgi.port))
    assert pair.get("/").status == 200
    assert pair.get("/catch").status == 502


@pytest.mark.parametrize(
    "directive", [f"{family}_{name}" for family in FAMILIES for name in ("cache", "store", "cache_path")]
)
def test_what_is_refused(tmp_path: Path, directive: str) -> None:
    file = tmp_path / "nginx.conf"
    where = (
        "{} server {{ listen 127.0.0.1:8123; }}"
        if directive.endswith("path")
        else "server {{ listen 127.0.0.1:8123; {} }}"
    )
    file.write_text("events {} http { " + where.format(f"{directive} zone;") + " }")
    with pytest.raises(ConfigError, match=directive):
        load(file)
    if not directive.endswith("path"):
        file.write_text("events {} http { " + where.format(f"{directive} off;") + " }")
        load(file)


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


FLASK = """
import hashlib
from flask import Flask, request, send_file
app = Flask(__name__)
@app.route("/hello/<name>")
def hello(name):
    return f"hello {name} from {request.remote_addr} {request.query_string.decode()}"
@app.post("/upload")
def upload():
    return hashlib.sha256(request.get_data()).hexdigest()
@app.route("/stream")
def stream():
    return (f"{n}\\n" for n in range(50_000))
"""


@pytest.mark.parametrize(
    ("family", "option"), [("uwsgi", "--uwsgi-socket"), ("fastcgi", "--fastcgi-socket"), ("scgi", "--scgi-socket")]
)
def test_flask_behind_a_real_uwsgi(
    run_pair: RunPair, require_peer: Callable[[str], str], tmp_path: Path, family: str, option: str
) -> None:
    uwsgi = require_peer("uwsgi")
    (tmp_path / "shop.py").write_text(FLASK)
    port = free_port()
    packages = Path(pytest.__file__).parent.parent
    with (tmp_path / "uwsgi.log").open("wb") as log:
        process = subprocess.Popen(
            [uwsgi, "--plugin", "python3", option, f"127.0.0.1:{port}", "--master", "--threads", "2", "--need-app",
             "--chdir", str(tmp_path), "--pythonpath", str(packages), "--module", "shop:app", "--die-on-term"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        params = "include /etc/nginx/FAMILY_params; FAMILY_param PATH_INFO $document_uri; FAMILY_param SCRIPT_NAME '';"
        pair = run_pair(config(family, f"location / {{ FAMILY_pass UP; {params} }}", port))
        wait_for(lambda: accepts(port), "uWSGI accepts", 30)
        assert pair.get("/hello/you?a=b").body == b"hello you from 127.0.0.1 a=b"
        body = os.urandom(300_000).hex()
        request = f"POST /upload HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        assert len(pair.same(request, "POST").body) == 64
        streamed = pair.buchner.ask(get("/stream"))
        assert streamed
        assert streamed.body == b"".join(b"%d\n" % number for number in range(50_000))
        assert pair.get("/nowhere").status == 404
    finally:
        process.terminate()
        process.wait(20)


PHP = """<?php
header('X-Powered: php');
if ($_SERVER['REQUEST_METHOD'] === 'POST') { echo hash('sha256', file_get_contents('php://input')); exit; }
if (isset($_GET['status'])) { http_response_code((int) $_GET['status']); }
if (isset($_GET['log'])) { error_log('told by php'); }
echo 'script ' . basename($_SERVER['SCRIPT_FILENAME']) . ' path ' . ($_SERVER['PATH_INFO'] ?? '');
echo ' https ' . ($_SERVER['HTTPS'] ?? '');
"""


def test_php_behind_a_real_php_fpm(run_pair: RunPair, require_peer: Callable[[str], str]) -> None:
    fpm = next((found for name in ("php-fpm", "php-fpm8.2", "php-fpm8.4") if (found := shutil.which(name))), None)
    fpm = fpm or require_peer("php-fpm8.2")
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        directory.chmod(0o755)
        (directory / "index.php").write_text(PHP)
        (directory / "fpm.conf").write_text(
            f"[global]\nerror_log = {made}/fpm.log\n[www]\nlisten = {made}/fpm.sock\n"
            "user = www-data\ngroup = www-data\nlisten.mode = 0666\npm = static\npm.max_children = 2\n"
        )
        process = subprocess.Popen(
            [fpm, "-F", "-y", f"{made}/fpm.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for((directory / "fpm.sock").exists, "php-fpm's socket")
            # As Debian's snippet for PHP has it.
            text = f"""
    root {made};
    index index.php;
    location / {{ try_files $uri $uri/ =404; }}
    location ~ [^/]\\.php(/|$) {{
        fastcgi_split_path_info ^(.+?\\.php)(/.*)$;
        try_files $fastcgi_script_name =404;
        set $path_info $fastcgi_path_info;
        fastcgi_param PATH_INFO $path_info;
        fastcgi_index index.php;
        include /etc/nginx/fastcgi.conf;
        fastcgi_pass unix:{made}/fpm.sock;
    }}
"""
            pair = run_pair(re.sub("root /srv;", "", config("fastcgi", text, 1)))
            assert b"script index.php path /a/b" in pair.get("/index.php/a/b").body
            assert pair.get("/").status == 200
            assert pair.get("/index.php?status=418").status == 418
            assert pair.get("/missing.php").status == 404
            body = os.urandom(200_000).hex()
            head = f"POST /index.php HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            assert len(pair.same(head + body, "POST").body) == 64
        finally:
            process.terminate()
            process.wait(20)
