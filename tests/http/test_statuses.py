"""Statuses that apps, upstreams and configurations send are delivered, those too that mean something inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from app_driver import AppGateway
from helpers.proxied import proxy
from helpers.raw import Raw, ask
from helpers.upstream import Script, Upstream

if TYPE_CHECKING:
    from helpers.gateway import Gateway
    from helpers.nginx import Pair

Run = Callable[..., "Gateway"]
RunUpstream = Callable[[Script], Upstream]

OWN = [444, 494, 495, 496, 497, 498, 499]
"""Numbers that mean something inside."""


def test_all_statuses_of_an_app_are_delivered() -> None:
    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start(environ["PATH_INFO"][1:] + " Word", [("Content-Type", "text/plain")])
        return [b"text"]

    with AppGateway(app) as gateway, Raw(gateway.port) as raw:
        for status in [*OWN, 200, 299, 400, 418, 450, 500, 599]:
            raw.send(f"GET /{status} HTTP/1.1\r\nHost: a\r\n\r\n")
            reply = raw.reply()
            assert (reply.status, reply.body) == (status, b"text")


@pytest.mark.parametrize("intercept", ["false", "true"])
def test_all_statuses_of_an_upstream_are_delivered(run_gateway: Run, run_upstream: RunUpstream, intercept: str) -> None:
    def script(connection: Any, head: bytes) -> bool:
        status = head.split(b" ")[1][1:]
        connection.sendall(b"HTTP/1.1 " + status + b" Word\r\nContent-Length: 4\r\n\r\ntext")
        return True

    upstream = run_upstream(script)
    gateway = run_gateway(proxy(upstream.port, f"intercept_errors = {intercept}"))
    with Raw(gateway.port) as raw:
        for status in [*OWN, 200, 299, 400, 418, 450, 500, 599]:
            raw.send(f"GET /{status} HTTP/1.1\r\nHost: a\r\n\r\n")
            reply = raw.reply()
            assert (reply.status, reply.body) == (status, b"text")


RETURNS = """
server {
    listen 127.0.0.1:PORT;
    location /text/444 { return 444 text; }
    location /text/494 { return 494 text; }
    location /text/497 { return 497 text; }
    location /text/499 { return 499 text; }
    location /444 { error_page 444 /page; return 444; }
    location /499 { return 499; }
    location /494 { return 494; }
    location /497 { return 497; }
    location /empty/444 { return 444 ""; }
    location /empty/404 { error_page 404 /page; return 404 ""; }
    location /empty/503 { return 503 ""; }
    location /empty/200 { return 200 ""; }
    location /page { return 200 page; }
}
"""


def test_return_closes_where_nginx_does(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(RETURNS)
    for path in ("/text/444", "/text/494", "/text/497", "/text/499", "/494", "/497"):
        assert pair.get(path).status is not None
    assert pair.get("/444").status is None
    assert pair.get("/499").status is None
    for status in ("444", "404", "503", "200"):
        pair.get(f"/empty/{status}")


def line(port: int, request: str) -> str:
    with Raw(port) as raw:
        raw.send(request)
        return raw._until(b"\r\n").decode("latin-1").strip()


def test_reason_phrases_arrive(run_gateway: Run, run_upstream: RunUpstream) -> None:
    def script(connection: Any, head: bytes) -> bool:
        connection.sendall(
            b"HTTP/1.1 " + head.split(b" ")[1][1:].replace(b"_", b" ") + b"\r\nContent-Length: 0\r\n\r\n"
        )
        return True

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start(environ["PATH_INFO"][1:].replace("_", " "), [])
        return []

    gateway = run_gateway(proxy(run_upstream(script).port))
    with AppGateway(app) as served:
        for status in ("200 Custom Reason", "450 Blocked by policy", "299 Odd", "404 Not Found", "404 Nothing"):
            request = f"GET /{status.replace(' ', '_')} HTTP/1.1\r\nHost: a\r\n\r\n"
            assert line(gateway.port, request) == f"HTTP/1.1 {status}"
            assert line(served.port, request) == f"HTTP/1.1 {status}"


def test_a_reason_phrase_goes_with_its_status(run_gateway: Run, run_upstream: RunUpstream) -> None:
    def script(connection: Any, _head: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 404 Nothing\r\nContent-Length: 0\r\n\r\n")
        return True

    route = 'intercept_errors = true\nerror_page = { 404 = { to = "/page", status = 200 } }\n'
    page = '[[server.route]]\npath = "/page"\nrespond = { status = 200, body = "x" }\n'
    gateway = run_gateway(proxy(run_upstream(script).port, route + page))
    assert line(gateway.port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") == "HTTP/1.1 200 OK"


WORDS = """
server {
    listen 127.0.0.1:PORT;
    keepalive_timeout 75 9;
    location /302 { return 302 /x; }
    location /403 { return 403; }
    location /405 { return 405; }
    location /413 { return 413; }
    location /414 { return 414; }
    location /416 { return 416; }
    location /503 { return 503; }
    location /504 { return 504; }
    location /505 { return 505; }
}
"""


def test_nginx_conf_has_nginx_s_words(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(WORDS)
    for status in (302, 403, 405, 413, 414, 416, 503, 504, 505):
        request = f"GET /{status} HTTP/1.1\r\nHost: a\r\n\r\n"
        ours = line(pair.buchner.port, request)
        assert ours == line(pair.nginx.port, request)
        assert ours.split(" ", 1)[1].encode() in pair.buchner.ask(request).body  # type: ignore[union-attr]
    for server in (pair.nginx, pair.buchner):
        reply = server.ask("GET /403 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert reply is not None
        assert (reply.get("connection"), reply.get("keep-alive")) == ("keep-alive", "timeout=9")
        assert "/" in (reply.get("server") or "")


def test_gateway_toml_has_the_words_of_rfc_9110(run_gateway: Run) -> None:
    gateway = run_gateway('[[server]]\n[[server.route]]\npath = "/"\nrespond = { status = 405 }\n')
    reply = gateway.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (reply.get("connection"), reply.get("server")) == (None, "Buchner")
    assert b"405 Method Not Allowed" in reply.body


def test_keep_alive_is_named_in_connection(run_gateway: Run) -> None:
    settings = 'keepalive_told = "9s"\n[[server.route]]\npath = "/"\nrespond = { status = 200, body = "x" }\n'
    reply = run_gateway("[[server]]\n" + settings).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (reply.get("connection"), reply.get("keep-alive")) == ("keep-alive", "timeout=9")


def test_the_upgrade_field_of_a_426_goes_on(run_gateway: Run, run_upstream: RunUpstream) -> None:
    def script(connection: Any, head: bytes) -> bool:
        status = b"426 Upgrade Required" if head.startswith(b"GET /426") else b"200 OK"
        connection.sendall(
            b"HTTP/1.1 " + status + b"\r\nUpgrade: TLS/1.3\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n"
        )
        return True

    gateway = run_gateway(proxy(run_upstream(script).port))
    reply = gateway.ask("GET /426 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (reply.get("upgrade"), reply.get("connection")) == ("TLS/1.3", "upgrade")
    assert gateway.ask("GET /200 HTTP/1.1\r\nHost: a\r\n\r\n").get("upgrade") is None


def test_the_upgrade_field_of_an_apps_426_goes_on(run_gateway: Run) -> None:
    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        status = environ["PATH_INFO"][1:]
        start(f"{status} Word", [("Connection", "Upgrade"), ("Upgrade", "TLS/1.3"), ("Keep-Alive", "timeout=5")])
        return [b"x"]

    with AppGateway(app) as gateway:
        for status, upgrade, connection in [("426", "TLS/1.3", "upgrade"), ("400", None, None)]:
            reply = ask(gateway.port, f"GET /{status} HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (reply.get("upgrade"), reply.get("connection"), reply.get("keep-alive")) == (
                upgrade,
                connection,
                None,
            )
    own = run_gateway('[[server]]\n[[server.route]]\npath = "/"\nrespond = { status = 426, body = "x" }\n')
    assert own.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").get("connection") is None


TOKENS = """
server {
    listen 127.0.0.1:PORT;
    location / { return 204; }
    location /off { server_tokens off; return 204; }
}
"""


def test_the_server_header_has_a_version_unless_told_otherwise(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(TOKENS)
    for server in (pair.nginx, pair.buchner):
        versions = [
            "/" in (server.ask(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").get("server") or "")  # type: ignore[union-attr]
            for path in ("/", "/off")
        ]
        assert versions == [True, False]


COOKIES = """
server {{
    listen 127.0.0.1:PORT;
    location / {{ proxy_pass http://127.0.0.1:{port}; add_header X-Cookie "[$upstream_cookie_a]" always; }}
}}
"""


@pytest.mark.parametrize("cookie", ["a=1", "a =1", "a\t=1", " a = 1"])
def test_names_of_cookies_end_where_nginx_ends_them(
    run_pair: Callable[[str], Pair], run_upstream: RunUpstream, cookie: str
) -> None:
    def script(connection: Any, _head: bytes) -> bool:
        connection.sendall(f"HTTP/1.1 200 OK\r\nSet-Cookie: {cookie}; Path=/\r\nContent-Length: 0\r\n\r\n".encode())
        return True

    run_pair(COOKIES.format(port=run_upstream(script).port)).get("/")
