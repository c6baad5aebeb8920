"""What an app is told of paths, proxies and lengths, and which of its headers reach the client."""

from __future__ import annotations

from typing import Any
from wsgiref.util import request_uri

import pytest

from slot_driver import until

Environ = dict[str, Any]


FROM_A_PROXY = "X-Forwarded-Proto: http, https\r\n"


@pytest.mark.parametrize(
    ("headers", "mount", "seen"),
    [
        ("X-Forwarded-Host: shop.example\r\n", "", "https://shop.example/a"),
        ("X-Forwarded-Host: evil.example, shop.example:444\r\n", "", "https://shop.example:444/a"),
        ("X-Forwarded-Port: 8443\r\n", "", "https://example.com:8443/a"),
        ("X-Forwarded-Host: shop.example:1\r\nX-Forwarded-Port: 443\r\n", "", "https://shop.example/a"),
        ("X-Forwarded-Prefix: /front/\r\n", "", "https://example.com/front/a"),
        ("X-Forwarded-Prefix: /front\r\n", "/shop", "https://example.com/front/shop/a"),
        ("X-Forwarded-Prefix: /shop\r\n", "/shop", "https://example.com/shop/a"),
        ("X-Forwarded-Prefix: //evil.example\r\nX-Forwarded-Host: a b\r\n", "", "https://example.com/a"),
    ],
)
def test_a_trusted_proxy_tells_the_urls_host_port_and_prefix(
    serve_app: Any, headers: str, mount: str, seen: str
) -> None:
    def app(environ: Environ, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [request_uri(environ).encode(), b" ", environ["SERVER_NAME"].encode(), environ["SERVER_PORT"].encode()]

    trusting = serve_app(app, mount=mount, gateway={"trusted_proxies": ["127.0.0.1"]})
    url, _, server = trusting.ask(f"{mount}/a", headers=FROM_A_PROXY + headers)[2].decode().partition(" ")
    assert url == seen
    host, _, port = seen.split("/")[2].partition(":")
    assert server == host + (port or "443")
    doubting = serve_app(app, mount=mount)
    assert (
        doubting.ask(f"{mount}/a", headers=FROM_A_PROXY + headers)[2]
        == f"http://example.com{mount}/a example.com80".encode()
    )


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/p/http://example.com/a//b", "/p/http://example.com/a//b"),
        ("/p/https%3A%2F%2Fexample.com%2Fx", "/p/https://example.com/x"),
        ("/p//x", "/p//x"),
        ("/p/%2Fx", "/p//x"),
        ("//p", "//p"),
        ("/p//", "/p//"),
        ("/p///x?a//b=//c", "/p///x"),
        ("/p/x", "/p/x"),
        ("/p/%2e%2e/b", "/b"),
        ("/p/./b//c", "/p/b//c"),
        ("/p/a/../b//", "/p/b//"),
        ("/admin//../public", None),
        ("/admin/%2F../public", None),
        ("/admin/%2f%2e%2e/public", None),
        ("/admin//%2e./public", None),
        ("/admin//.%2E%2Fpublic", None),
        ("/a//b/../../c", None),
        ("//../a", None),
        ("/../a", None),
        ("/a/..//../b", None),
    ],
)
def test_the_path_keeps_empty_segments_and_never_has_dot_segments(
    serve_app: Any, target: str, path: str | None
) -> None:
    def app(environ: Environ, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [repr([environ["PATH_INFO"], environ["RAW_URI"], environ["REQUEST_URI"]]).encode()]

    status, _head, body = serve_app(app).ask(target)
    assert (status, body) == ((200, repr([path, target, target]).encode()) if path else (400, body))


def test_a_mount_is_taken_off_whatever_slashes_are_repeated(serve_app: Any) -> None:
    def app(environ: Environ, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [environ["SCRIPT_NAME"].encode(), b" ", environ["PATH_INFO"].encode()]

    gateway = serve_app(app, mount="/shop")
    assert gateway.ask("//shop//a//b")[2] == b"/shop //a//b"
    assert gateway.ask("/shop/a")[2] == b"/shop /a"


def test_a_length_of_zero_is_told(serve_app: Any) -> None:
    def app(environ: Environ, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [environ.get("CONTENT_LENGTH", "none").encode()]

    gateway = serve_app(app)
    assert gateway.ask(method="POST", body=b"")[2] == b"0"
    assert gateway.ask()[2] == b"none"


def test_headers_about_the_connection_do_not_reach_the_client(serve_app: Any) -> None:
    def app(environ: Environ, start: Any) -> Any:
        headers = [("Connection", "close, X-Hop"), ("Keep-Alive", "timeout=1"), ("Transfer-Encoding", "chunked")]
        if environ["PATH_INFO"] == "/407":
            start("407 Proxy Authentication Required", [("Proxy-Authenticate", "Basic"), *headers])
            return [b"who?"]
        start("200 OK", [("Content-Type", "text/event-stream"), ("X-Hop", "1"), *headers])
        return iter([b"data: 1\n\n", b"data: 2\n\n"])

    for development in (True, False):
        gateway = serve_app(app, gateway={"development": development})
        with gateway.connect() as sock:
            data = b""
            for path in ("/", "/407"):
                sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                until_end = b"0\r\n\r\n" if path == "/" else b"who?"
                while until_end not in data:
                    data += sock.recv(1 << 16)
        head, second = data.split(b"\r\n\r\n")[0], data.rpartition(b"HTTP/1.1 407")[2]
        assert head.startswith(b"HTTP/1.1 200")
        assert head.count(b"Transfer-Encoding: chunked") == 1
        assert b"X-Hop: 1" not in head
        assert b"Keep-Alive: timeout" not in head
        assert b"close" not in head.replace(b"X-Buchner-Dropped", b"")
        assert (b"X-Buchner-Dropped: Connection, Keep-Alive, Transfer-Encoding, X-Hop" in head) == development, head
        assert b"Proxy-Authenticate: Basic" in second


def test_a_peer_that_is_not_believed_is_told_of_once(serve_app: Any, capfd: pytest.CaptureFixture[str]) -> None:
    def app(environ: Environ, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [environ.get("HTTP_X_FORWARDED_PROTO", "none").encode()]

    gateway = serve_app(app)
    log = ""

    def told() -> bool:
        nonlocal log
        log += capfd.readouterr().err
        return "--trusted-proxies 127.0.0.1" in log

    for _ in range(3):
        assert gateway.ask("/", headers=FROM_A_PROXY)[2] == b"none"
    until(told)
    gateway.ask("/none", headers=FROM_A_PROXY)
    log += capfd.readouterr().err
    assert log.count("X-Forwarded-Proto") == 1
