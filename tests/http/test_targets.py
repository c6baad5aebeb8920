"""Request splitting: whatever writes a request-target or a Location encodes spaces and control characters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from app_driver import AppGateway
from helpers.raw import Raw
from helpers.upstream import Script, Upstream, answer
from helpers.wait import wait_for

if TYPE_CHECKING:
    from helpers.gateway import Gateway
    from helpers.nginx import Server

Run = Callable[..., "Gateway"]
RunUpstream = Callable[[Script], Upstream]

SPLIT = "%20HTTP/1.1%0d%0aHost:%20a%0d%0a%0d%0aGET%20/slow%20HTTP/1.1%0d%0aX:%20"
CONF = """
server {{
    listen 127.0.0.1:PORT;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    error_page 418 /e?u=$uri;
    location /try {{ try_files $uri /up?q=$uri; }}
    location /tryname {{ try_files /none @up; }}
    location @up {{ proxy_pass http://127.0.0.1:{port}; }}
    location /rewrite {{ rewrite ^ /up?u=$uri; }}
    location /break {{ rewrite ^ /up?u=$uri break; proxy_pass http://127.0.0.1:{port}; }}
    location /path {{ rewrite ^ /up$uri break; proxy_pass http://127.0.0.1:{port}; }}
    location /error {{ return 418; }}
    location /args {{ set $args a=$uri; proxy_pass http://127.0.0.1:{port}; }}
    location /url {{ proxy_pass http://127.0.0.1:{port}$uri?$uri; }}
    location /query {{ proxy_pass http://127.0.0.1:{port}?$uri; }}
    location /replaced {{ proxy_pass http://127.0.0.1:{port}/by; }}
    location /auth {{ set $c x$uri; auth_request /check; proxy_pass http://127.0.0.1:{port}; }}
    location /check {{ internal; proxy_pass http://127.0.0.1:{port}/check?u=$c; }}
    location /mirror {{ mirror /copy; proxy_pass http://127.0.0.1:{port}; }}
    location /copy {{ internal; proxy_pass http://127.0.0.1:{port}/copy?u=$request_uri$uri; }}
    location /up {{ proxy_pass http://127.0.0.1:{port}; }}
    location /e {{ proxy_pass http://127.0.0.1:{port}; }}
    location /302 {{ return 302 http://x/?u=$uri; }}
    location /redirect {{ rewrite ^ http://x/?u=$uri redirect; }}
    location /moved {{ error_page 418 http://x/?u=$uri; return 418; }}
    location /accel {{ proxy_pass http://127.0.0.1:{port}; }}
}}
"""


def clean(head: bytes) -> bool:
    """A head with one request line of three words."""
    line = head.split(b"\r\n", 1)[0]
    return line.count(b" ") == 2 and line.endswith(b" HTTP/1.1") and not any(byte < 32 for byte in line)


PROXIED = ["try", "tryname", "rewrite", "break", "path", "error", "args", "url", "query", "replaced", "auth", "mirror"]


@pytest.mark.parametrize("place", PROXIED)
def test_no_variable_splits_the_request_of_an_upstream(
    run_conf: Callable[[str], Server], run_upstream: RunUpstream, place: str
) -> None:
    upstream = run_upstream(answer(b"ok"))
    server = run_conf(CONF.format(port=upstream.port))
    with Raw(server.port) as raw:
        raw.send(f"GET /{place}/x{SPLIT} HTTP/1.1\r\nHost: a\r\n\r\n")
        raw.reply()
        raw.send("GET /up/next HTTP/1.1\r\nHost: a\r\n\r\n")
        assert raw.reply().body == b"ok"
    expected = 3 if place in ("auth", "mirror") else 2
    wait_for(lambda: len(upstream.heads) == expected, "all requests")
    assert all(clean(head) for head in upstream.heads), upstream.heads
    assert not any(head.startswith(b"GET /slow") for head in upstream.heads)


@pytest.mark.parametrize("place", ["302", "redirect", "moved"])
@pytest.mark.parametrize("what", [SPLIT, "%0d%0aSet-Cookie:%20a=b", "%20x", "%09x", "%7fx", "%01x"])
def test_no_variable_splits_a_redirect(run_conf: Callable[[str], Server], place: str, what: str) -> None:
    server = run_conf(CONF.format(port=9))
    reply = server.ask(f"GET /{place}/x{what} HTTP/1.1\r\nHost: a\r\n\r\n")
    assert reply is not None
    location = reply.get("location")
    assert reply.status == 400 if location is None else reply.status == 302
    assert reply.get("set-cookie") is None
    if location is not None:
        assert not any(char <= " " or char == "\x7f" for char in location), location


def test_what_an_app_says_is_no_other_request_either(
    run_conf: Callable[[str], Server], run_upstream: RunUpstream
) -> None:
    def script(connection: Any, head: bytes) -> bool:
        own = b"X-Accel-Redirect: /up?a b\tc\r\n" if head.startswith(b"GET /accel") else b""
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + own + b"Content-Length: 2\r\n\r\nok")
        return True

    upstream = run_upstream(script)
    reply = run_conf(CONF.format(port=upstream.port)).ask("GET /accel HTTP/1.1\r\nHost: a\r\n\r\n")
    assert reply is not None
    assert reply.status == 200
    assert upstream.heads[-1].startswith(b"GET /up?a%20b%09c HTTP/1.1\r\n")


TOML = """
[[server]]
[[server.route]]
path = "/"
try_files = ["$uri", "/index?q=$uri"]
files = "{root}"
[[server.route]]
path = "/index"
proxy = "http://127.0.0.1:{upstream}"
"""


def test_gateway_toml_is_no_other(run_gateway: Run, run_upstream: RunUpstream, tmp_path: Any) -> None:
    upstream = run_upstream(answer(b"ok"))
    toml = TOML.replace("{root}", str(tmp_path)).replace("{upstream}", str(upstream.port))
    assert run_gateway(toml).ask(f"GET /x{SPLIT} HTTP/1.1\r\nHost: a\r\n\r\n").body == b"ok"
    assert upstream.heads[0].startswith(b"GET /index?q=/x%20HTTP/1.1%0D%0AHost:%20a%0D%0A")


def test_targets_that_need_nothing_go_on_as_they_came(run_gateway: Run, run_upstream: RunUpstream) -> None:
    upstream = run_upstream(answer(b"ok"))
    gateway = run_gateway(TOML.replace("{root}", "/").replace("{upstream}", str(upstream.port)))
    for target in ["/index/%20a?b=%0d%0a", "/index/{}|?a=\"'<>", "/index/é?ü".encode().decode("latin-1")]:
        gateway.ask(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
        assert upstream.heads[-1].startswith(f"GET {target} HTTP/1.1\r\n".encode("latin-1"))


def test_apps_get_a_query_without_controls() -> None:
    seen: list[str] = []

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        seen.append(environ["QUERY_STRING"])
        start("200 OK", [])
        return [b"x"]

    with AppGateway(app) as gateway:
        gateway.ask("/x?a%20b=%0d")
    assert seen == ["a%20b=%0d"]
