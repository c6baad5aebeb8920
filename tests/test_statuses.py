"""Statuses that apps, upstreams and configurations send are delivered, those too that mean something inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from app_driver import AppGateway
from helpers.raw import Raw
from helpers.upstream import Script, Upstream
from test_proxy import proxy

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
    location /page { return 200 page; }
}
"""


def test_return_closes_where_nginx_does(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(RETURNS)
    for path in ("/text/444", "/text/494", "/text/497", "/text/499", "/494", "/497"):
        assert pair.get(path).status is not None
    assert pair.get("/444").status is None
    assert pair.get("/499").status is None
