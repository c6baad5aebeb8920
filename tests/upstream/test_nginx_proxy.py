"""The proxy module: Buchner and nginx on the same file send the same requests up and the same answers down."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from buchner.config import load
from buchner.errors import ConfigError
from helpers.gateway import free_port
from helpers.nginx import Answer, Pair, Server, get
from helpers.upstream import Script, Upstream
from helpers.wait import wait_for

if TYPE_CHECKING:
    from pathlib import Path

RunPair = Callable[[str], Pair]
RunUpstream = Callable[[Script], Upstream]

SERVER = """
proxy_http_version 1.1;
upstream group { server 127.0.0.1:UP; keepalive 4; }
server {
    listen 127.0.0.1:PORT;
    server_name _;
    %s
}
"""


def canned(answers: dict[str, str]) -> Script:
    """Answer by the path of the request; LF in the text stands for CR LF. A path that is not known gets 200."""

    def script(connection: socket.socket, head: bytes) -> bool:
        path = head.split(b" ")[1].split(b"?")[0].decode("latin-1")
        text = answers.get(path, "HTTP/1.1 200 OK\nContent-Length: 2\n\nok")
        connection.sendall(text.replace("\n", "\r\n").encode("latin-1"))
        return "Content-Length" in text or "chunked" in text

    return script


def request_of(head: bytes, body: bytes) -> tuple[str, list[str], bytes]:
    """Return what of a request must be the same: the line, the fields in any order, the body."""
    line, *fields = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    return line, sorted(re.sub(r"^[^:]*", lambda name: name[0].lower(), field) for field in fields), body


def same(pair: Pair, upstream: Upstream, request: str, method: str = "GET") -> tuple[Answer, str, list[str]]:
    """Send a request to both; both must send the same up and answer the same. Returns answer, line and fields."""
    before = len(upstream.heads)
    answer = pair.same(request, method)
    theirs, ours = (request_of(*each) for each in zip(upstream.heads[before:], upstream.bodies[before:], strict=True))
    assert ours == theirs, f"{request!r}\n  nginx:   {theirs}\n  Buchner: {ours}"
    return answer, theirs[0], theirs[1]


def config(upstream: Upstream, text: str) -> str:
    return (SERVER % text).replace("UP", str(upstream.port))


REQUESTS = """
    location /plain { proxy_pass http://127.0.0.1:UP; }
    location /uri/ { proxy_pass http://127.0.0.1:UP/base/; }
    location /short { proxy_pass http://127.0.0.1:UP/; }
    location /group { proxy_set_header Connection ""; proxy_pass http://group; }
    location /rewritten/ { rewrite ^/rewritten/(.*)$ /to/$1?x=y break; proxy_pass http://127.0.0.1:UP/base/; }
    location /rewritten2/ { rewrite ^/rewritten2/(.*)$ /to/$1 break; proxy_pass http://127.0.0.1:UP; }
    location ~ ^/regex/(.*)$ { proxy_pass http://127.0.0.1:UP; }
    location /set/ {
        proxy_set_header Host $host:80;
        proxy_set_header X-Empty "";
        proxy_set_header Accept "";
        proxy_set_header X-Uri "$uri?$args";
        proxy_set_header X-Proxy "$proxy_host $proxy_port $proxy_add_x_forwarded_for";
        proxy_set_header Connection "";
        proxy_pass http://127.0.0.1:UP;
    }
    location /method { proxy_method PUT; proxy_pass http://127.0.0.1:UP; }
    location /head { proxy_method HEAD; proxy_pass http://127.0.0.1:UP; }
    location /body { proxy_set_body "uri=$uri&m=$request_method"; proxy_pass http://127.0.0.1:UP; }
    location /nobody { proxy_pass_request_body off; proxy_set_header Content-Length "";
        proxy_pass http://127.0.0.1:UP; }
    location /nofields { proxy_pass_request_headers off; proxy_pass http://127.0.0.1:UP; }
    location /http10 { proxy_http_version 1.0; proxy_pass http://127.0.0.1:UP; }
    location /upgrade { proxy_pass http://127.0.0.1:UP; }
    location /var/uri { proxy_pass http://127.0.0.1:UP$uri; }
    location /var/request { set $to 127.0.0.1:UP; proxy_pass http://$to$request_uri; }
    location /var/bare { set $to http://127.0.0.1:UP; proxy_pass $to; }
    location /var/query { set $to 127.0.0.1:UP; proxy_pass http://$to?a=b; }
    location /var/group { proxy_set_header Connection ""; set $to group; proxy_pass http://$to; }
    location /var/base { proxy_set_header Connection ""; set $to group; proxy_pass http://$to/base$is_args$args; }
"""


def test_requests_are_the_same(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    upstream = run_upstream(canned({}))
    pair = run_pair(config(upstream, REQUESTS))
    targets = (
        "/plain /plain/a?b=c /plain/%41%20b?x=%20 /plain//a/../b /uri/ /uri/a/b?c /uri/a%20b /uri/%2e%2e/uri/x /short "
        "/shorter /short/a /group/x /rewritten/a%20b?c=d /rewritten2/a%20b?c=d /regex/a%2Fb /set/a?b=c /method /body "
        "/nofields /http10 /var/uri/a%41b?c /var/request/a%20b?c /var/bare/a?b /var/query /var/group/x?y /var/base/x?y"
    )
    for target in targets.split():
        same(pair, upstream, get(target, ["Accept: text/x", "X-Empty: full", "X-Other: 1", "Keep-Alive: 5", "TE: x"]))
    for target in ["/plain", "/body", "/nobody", "/http10", "/set/x", "/method", "/uri/x", "/var/bare"]:
        fields = ["Content-Length: 3", "Content-Type: text/plain"]
        same(pair, upstream, get(target, fields).replace("GET", "POST", 1) + "abc")
    same(pair, upstream, get("/plain", ["Content-Length: 0"]).replace("GET", "POST", 1))
    same(
        pair, upstream, get("/plain", ["Transfer-Encoding: chunked"]).replace("GET", "POST", 1) + "2\r\nab\r\n0\r\n\r\n"
    )
    pair.both(get("/head"))  # nginx announces a body that never comes; there Buchner says that there is none
    assert [head.split(b"\r\n")[0] for head in upstream.heads[-2:]] == [b"HEAD /head HTTP/1.1"] * 2
    _, _, fields = same(pair, upstream, get("/set/x"))
    assert f"x-proxy: 127.0.0.1:{upstream.port} {upstream.port} 127.0.0.1" in fields
    assert not any(field.startswith(("x-empty", "accept", "connection")) for field in fields)
    _, _, fields = same(
        pair, upstream, get("/upgrade", ["Upgrade: x"]).replace("Connection: close", "Connection: upgrade")
    )
    assert not any(field.startswith("upgrade") for field in fields)


REDIRECTS = {
    "/default/a": "http://127.0.0.1:UP/default/b",
    "/base/a": "http://127.0.0.1:UP/base/b?c",
    "/base/other": "http://127.0.0.1:UP/other",
    "/base/relative": "/relative",
    "/off/a": "http://127.0.0.1:UP/off/b",
    "/prefix/a": "http://internal:8080/x/y",
    "/prefix/b": "http://second/x/y",
    "/prefix/c": "http://third/x/y",
    "/regex/a": "http://a.example.org/p/q",
    "/regex/b": "HTTP://B.example.org/p/q",
    "/regex/c": "http://elsewhere/p/q",
    "/vars/a": "http://up/x",
}
REDIRECTING = """
    location /default/ { proxy_pass http://127.0.0.1:UP; }
    location /uri/ { proxy_pass http://127.0.0.1:UP/base/; }
    location /relative/ { absolute_redirect off; proxy_pass http://127.0.0.1:UP/base/; }
    location /off/ { proxy_pass http://127.0.0.1:UP; proxy_redirect off; }
    location /prefix/ {
        proxy_pass http://127.0.0.1:UP;
        proxy_redirect http://internal:8080/ /;
        proxy_redirect http://second/ http://$host/second/;
        proxy_redirect default;
    }
    location /regex/ {
        proxy_pass http://127.0.0.1:UP;
        proxy_redirect ~^http://(?<sub>[a-z]+)\\.example\\.org/(.*)$ /$sub/$2;
        proxy_redirect ~*^http://(.)\\.example\\.org/(.*)$ /nocase/$1/$2;
    }
    location /vars/ { set $name up; proxy_pass http://127.0.0.1:UP; proxy_redirect http://$name/ https://$host/$name/; }
"""


def test_location_and_refresh_are_rewritten_alike(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    answers: dict[str, str] = {}
    upstream = run_upstream(canned(answers))
    for path, text in REDIRECTS.items():
        url = text.replace("UP", str(upstream.port))
        answers[path] = f"HTTP/1.1 302 Found\nLocation: {url}\nContent-Length: 0\n\n"
        answers[path + "/refresh"] = f"HTTP/1.1 200 OK\nRefresh: 5; URL={url}\nContent-Length: 0\n\n"
    pair = run_pair(config(upstream, REDIRECTING))
    found = {}
    direct = [path for path in REDIRECTS if not path.startswith("/base")]
    for path in [*direct, "/uri/a", "/uri/other", "/uri/relative", "/relative/a", "/relative/relative"]:
        found[path] = dict(same(pair, upstream, get(path))[0].fields).get("location", "")
        same(pair, upstream, get(f"{path}/refresh"))
    assert found["/uri/a"] == "http://test:PORT/uri/b?c"
    assert found["/off/a"] == f"http://127.0.0.1:{upstream.port}/off/b"
    assert found["/regex/b"] == "http://test:PORT/nocase/B/p/q"


COOKIES = [
    "a=1",
    "a=1; Domain=internal; Path=/app/x",
    "a=1;domain=.internal;path=/APP/x;Secure",
    "b=2; Domain = INTERNAL ; Path=/other; HttpOnly; SameSite=Lax",
    "session=x; Domain=a.example.org; Path=/app",
    "secure=1; path=/app/; samesite=none; Expires=Thu, 01 Jan 2026 00:00:00 GMT",
    "n; Domain; Path=; x=y",
    "; a=b",
]
COOKIE_RULES = """
    location /domain { proxy_cookie_domain internal $host; proxy_cookie_domain ~^(.)\\.example\\.org$ $1.org;
        proxy_pass http://127.0.0.1:UP; }
    location /dot { proxy_cookie_domain .internal .example.com; proxy_pass http://127.0.0.1:UP; }
    location /path { proxy_cookie_path /app/ /; proxy_cookie_path ~*^/app(.*)$ /nocase$1;
        proxy_pass http://127.0.0.1:UP; }
    location /flags { proxy_cookie_flags a secure samesite=strict; proxy_cookie_flags ~^s nosecure httponly nosamesite;
        proxy_cookie_flags B nohttponly samesite=none; proxy_pass http://127.0.0.1:UP; }
    location /all { proxy_cookie_flags ~ httponly; proxy_cookie_path / /all/; proxy_cookie_domain internal x.org;
        proxy_pass http://127.0.0.1:UP; }
    location /off { proxy_cookie_flags off; proxy_cookie_path off; proxy_cookie_domain off;
        proxy_pass http://127.0.0.1:UP; }
"""


def test_cookies_are_rewritten_alike(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    answers: dict[str, str] = {}
    upstream = run_upstream(canned(answers))
    pair = run_pair(config(upstream, COOKIE_RULES))
    changed = 0
    for path in ["/domain", "/dot", "/path", "/flags", "/all", "/off"]:
        for number, cookie in enumerate(COOKIES):
            answers[f"{path}/{number}"] = f"HTTP/1.1 200 OK\nSet-Cookie: {cookie}\nContent-Length: 0\n\n"
            answer = same(pair, upstream, get(f"{path}/{number}"))[0]
            changed += ("set-cookie", cookie) not in answer.fields
        several = "".join(f"Set-Cookie: {cookie}\n" for cookie in COOKIES[:6])
        answers[path] = f"HTTP/1.1 200 OK\n{several}Content-Length: 0\n\n"
        same(pair, upstream, get(path))
    assert changed > 20


FIELDS = (
    "Server: theirs\nDate: Thu, 01 Jan 2026 00:00:00 GMT\nX-Pad: p\nX-Accel-Expires: 5\nX-Accel-Charset: x\n"
    'X-Powered-By: y\nX-Secret: z\nETag: "1"\nConnection: X-Hop\nKeep-Alive: 3\nContent-Length: 2\n\nok'
)
FIELD_RULES = """
    location /plain { proxy_pass http://127.0.0.1:UP; }
    location /hide { proxy_hide_header X-Powered-By; proxy_hide_header x-secret; proxy_hide_header ETag;
        proxy_pass http://127.0.0.1:UP; }
    location /pass { proxy_pass_header Server; proxy_pass_header Date; proxy_pass_header X-Accel-Expires;
        proxy_pass_header X-Pad; proxy_pass http://127.0.0.1:UP; }
    location /ignored { proxy_ignore_headers X-Accel-Redirect X-Accel-Limit-Rate; proxy_pass http://127.0.0.1:UP; }
    location /followed { proxy_pass http://127.0.0.1:UP; }
    location /inner { internal; default_type text/plain; return 200 "inner $uri"; }
    location /intercepted { proxy_intercept_errors on; error_page 404 503 /page; proxy_pass http://127.0.0.1:UP; }
    location /kept { error_page 404 503 /page; proxy_pass http://127.0.0.1:UP; }
    location = /page { return 200 "a page"; }
    location /ranges { proxy_force_ranges on; proxy_pass http://127.0.0.1:UP; }
    location /unranged { proxy_pass http://127.0.0.1:UP; }
    location /vars { add_header X-Up "$upstream_status|$upstream_http_x_secret|$upstream_cookie_c|$upstream_addr";
        proxy_pass http://127.0.0.1:UP; }
"""


def test_answers_are_the_same(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    redirect = "HTTP/1.1 200 OK\nX-Accel-Redirect: /inner/x\nX-Accel-Limit-Rate: 100000\nContent-Length: 2\n\nok"
    answers = {
        **dict.fromkeys(("/plain", "/hide", "/pass"), f"HTTP/1.1 200 OK\n{FIELDS}"),
        "/plain/close": "HTTP/1.0 200 OK\n\nuntil the end",
        "/plain/chunked": "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n",
        "/plain/204": "HTTP/1.1 204 No Content\nX: y\n\n",
        "/plain/304": "HTTP/1.1 304 Not Modified\nETag: x\n\n",
        "/plain/404": "HTTP/1.1 404 Not Found\nContent-Length: 4\n\nnone",
        "/plain/nothing": "",
        "/plain/half": "HTTP/1.1 200 OK\nContent-",
        "/ignored": redirect,
        "/followed": redirect,
        "/vars": "HTTP/1.1 200 OK\nX-Secret: s\nSet-Cookie: c=v; Path=/\nContent-Length: 1\n\nx",
    }
    for path in ("/intercepted", "/kept"):
        for status in (200, 404, 503):
            answers[f"{path}/{status}"] = f"HTTP/1.1 {status} X\nContent-Length: 4\n\nours"
    for path in ("/ranges", "/unranged"):
        answers[path] = 'HTTP/1.1 200 OK\nETag: "e"\nContent-Length: 10\n\n0123456789'
    answers["/ranges/chunked"] = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n"
    upstream = run_upstream(canned(answers))
    pair = run_pair(config(upstream, FIELD_RULES))
    for path in answers:
        same(pair, upstream, get(path))
        if path not in ("/plain/nothing", "/plain/half"):  # pages of one's own have one's own length
            same(pair, upstream, get(path).replace("GET", "HEAD", 1), "HEAD")
    ranges = [
        "bytes=2-4",
        "bytes=2-",
        "bytes=-3",
        "bytes=20-30",
        "bytes=0-1,3-4",
        "x=1-2",
        "bytes=0-0",
        "bytes=0-",
    ]
    for value in ranges:
        for more in ([], ['If-Range: "e"'], ['If-Range: "f"']):
            answer = same(pair, upstream, get("/ranges", [f"Range: {value}", *more]))[0]
            same(pair, upstream, get("/unranged", [f"Range: {value}", *more]))
            assert value != "bytes=2-4" or (answer.status, answer.body) in ((206, b"234"), (200, b"0123456789"))
    for server in (pair.nginx, pair.buchner):
        reply = server.ask(get("/pass"))
        assert reply is not None
        assert [value for name, value in reply.fields if name in ("server", "date")] in (
            ["theirs", "Thu, 01 Jan 2026 00:00:00 GMT"],
            ["Thu, 01 Jan 2026 00:00:00 GMT", "theirs"],
        )
    assert same(pair, upstream, get("/followed"))[0].body == b"inner /inner/x"
    assert same(pair, upstream, get("/ignored"))[0].body == b"ok"


NEXT = """
proxy_http_version 1.1;
upstream statuses { server 127.0.0.1:FIRST; server 127.0.0.1:SECOND; }
upstream refused { server 127.0.0.1:NONE; server 127.0.0.1:SECOND backup; }
upstream closing { server 127.0.0.1:CLOSING max_fails=0; server 127.0.0.1:SECOND backup; }
upstream down { server 127.0.0.1:FIRST down; server 127.0.0.1:SECOND; }
upstream all { server 127.0.0.1:FIRST max_fails=0; server 127.0.0.1:FIRST max_fails=0; }
server {
    listen 127.0.0.1:PORT;
    server_name _;
    add_header X-Tries "$upstream_addr $upstream_status" always;
    location /statuses { proxy_pass http://statuses; proxy_next_upstream http_503 http_404; }
    location /refused { proxy_pass http://refused; }
    location /closing { proxy_pass http://closing; }
    location /off { proxy_pass http://closing; proxy_next_upstream off; }
    location /any { proxy_pass http://closing; proxy_next_upstream error non_idempotent; }
    location /down { proxy_pass http://down; }
    location /all { proxy_pass http://all; proxy_next_upstream http_503; }
    location /one { proxy_pass http://all; proxy_next_upstream http_503; proxy_next_upstream_tries 1; }
}
"""


def test_the_next_server_is_asked_when_nginx_asks_it(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    busy = "HTTP/1.1 503 Busy\nContent-Length: 4\n\nbusy"
    paths = ["/statuses", "/refused", "/closing", "/off", "/any", "/down", "/all", "/one"]
    first = run_upstream(canned(dict.fromkeys(paths, busy)))
    second = run_upstream(canned({}))
    closing = run_upstream(canned(dict.fromkeys(paths, "")))
    ports = {"FIRST": first.port, "SECOND": second.port, "CLOSING": closing.port, "NONE": free_port()}
    text = NEXT
    for name, port in ports.items():
        text = text.replace(name, str(port))
    pair = run_pair(text)
    results = {}
    for path in paths[1:]:
        for method in ("GET", "POST"):
            request = get(path, ["Content-Length: 1"]).replace("GET", method, 1) + "x"
            results[path, method] = pair.same(request)
    assert results["/closing", "GET"].body == b"ok"
    assert results["/closing", "POST"].status == results["/off", "GET"].status == 502
    assert results["/any", "POST"].body == b"ok"
    assert results["/all", "GET"].body == b"busy"
    assert dict(results["/all", "GET"].fields)["x-tries"].endswith(" 503, 503")
    assert dict(results["/one", "GET"].fields)["x-tries"].endswith(" 503")
    assert "," not in dict(results["/one", "GET"].fields)["x-tries"]
    assert dict(results["/closing", "GET"].fields)["x-tries"].endswith(" 502, 200")
    # Which of two servers is first is each one's own affair, and so is what X-Tries says of it.
    assert {answer.body for _ in range(4) for answer in pair.both(get("/statuses"))} == {b"ok"}


def test_max_conns_holds(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    release = threading.Event()

    def slow(connection: socket.socket, head: bytes) -> bool:
        if b"/wait" in head:
            release.wait(20)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return True

    upstream = run_upstream(slow)
    text = """
    upstream one { server 127.0.0.1:%d max_conns=1; }
    server { listen 127.0.0.1:PORT; location / { proxy_pass http://one; } }
    """
    pair = run_pair(text % upstream.port)

    def status(server: Server, path: str) -> int | None:
        reply = server.ask(get(path))
        return None if reply is None else reply.status

    def check(server: Server) -> None:
        before = len(upstream.heads)
        waiting = threading.Thread(target=server.ask, args=(get("/wait"),))
        waiting.start()
        wait_for(lambda: len(upstream.heads) > before, "the first request at the upstream")
        assert status(server, "/next") == 502
        release.set()
        waiting.join()
        release.clear()
        wait_for(lambda: status(server, "/next") == 200, "a free place")

    check(pair.nginx)
    check(pair.buchner)


def _more_than(seen: int, upstream: Upstream) -> None:
    wait_for(lambda: len(upstream.heads) > seen, "the request at the upstream")


def test_a_client_that_leaves_is_ignored_where_configured(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    """The upstream's connection lives on: what it sends is taken."""
    left = threading.Event()
    outcomes: dict[str, bool] = {}

    def script(connection: socket.socket, head: bytes) -> bool:
        name = head.split(b" ")[1].decode()
        left.wait(20)
        connection.settimeout(3)
        try:
            outcomes[name] = connection.recv(1) != b""
        except TimeoutError:
            outcomes[name] = True
        except OSError:
            outcomes[name] = False
        return False

    upstream = run_upstream(script)
    text = """
    location /ignore { proxy_ignore_client_abort on; proxy_pass http://127.0.0.1:UP; }
    location /notice { proxy_pass http://127.0.0.1:UP; }
    """
    pair = run_pair(config(upstream, text))

    def check(server: Server) -> None:
        outcomes.clear()
        left.clear()
        for path in ("/ignore", "/notice"):
            seen = len(upstream.heads)
            client = socket.create_connection(("127.0.0.1", server.port), 10)
            client.sendall(get(path).encode())
            _more_than(seen, upstream)
            client.close()
        left.set()
        wait_for(lambda: len(outcomes) == 2, "both outcomes", 20)
        assert outcomes == {"/ignore": True, "/notice": False}, server.file

    check(pair.nginx)
    check(pair.buchner)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("proxy_pass ftp://$host;", "http:// and https:// are"),
        ("proxy_ignore_headers X-Other; proxy_pass http://a;", "cannot be ignored"),
        ("proxy_cookie_flags a what; proxy_pass http://a;", "none of secure"),
        ("set $x a; proxy_pass http://$x; proxy_redirect default;", "no meaning"),
        ("proxy_redirect default; proxy_pass http://a;", "behind"),
        ("proxy_redirect ~( /; proxy_pass http://a;", "regular expression"),
        ("proxy_bind 1.2.3.4 transparent; proxy_pass http://a;", "transparent"),
        ("proxy_pass http://$unknown;", "unknown variable"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "nginx.conf"
    file.write_text(f"http {{ server {{ listen 8080; location / {{ {text} }} }} }}")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert said in str(caught.value)
