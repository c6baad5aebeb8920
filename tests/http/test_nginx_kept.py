"""How long connections of clients are kept: what the place of the last request says, as in nginx."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from helpers.raw import Raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.nginx import Pair, Server

CONF = """
keepalive_timeout 20s;
server {
    listen 127.0.0.1:PORT;
    location / { return 200 ok; }
    location /closed { keepalive_timeout 0; return 200 ok; }
    location /short { keepalive_timeout 300ms 7s; return 200 ok; }
    location /short/inner { return 200 ok; }
    location /second { keepalive_requests 2; return 200 ok; }
    location /first { keepalive_requests 0; return 200 ok; }
    location /old { keepalive_time 300ms; return 200 ok; }
}
server {
    listen 127.0.0.1:PORT;
    server_name other;
    keepalive_timeout 0;
    location / { return 200 ok; }
    location /kept { keepalive_timeout 5s; return 200 ok; }
}
"""


def course(server: Server, *steps: str | float) -> list[tuple[str | None, str | None] | str]:
    """Ask one after the other on one connection, waiting where there is a number (seconds)."""
    seen: list[tuple[str | None, str | None] | str] = []
    with Raw(server.port) as raw:
        for step in steps:
            if isinstance(step, float):
                time.sleep(step)  # what is tested is how long it is kept
                continue
            host, path = step.split("/", 1)
            try:
                raw.send(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
                reply = raw.reply()
            except (EOFError, ConnectionError):
                seen.append("closed")
                break
            fields = dict(reply.fields)
            seen.append((fields.get("connection", "keep-alive"), fields.get("keep-alive")))
    return seen


def test_connections_are_kept_as_the_location_of_the_last_request_says(run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(CONF)
    kept, close = ("keep-alive", None), ("close", None)
    courses: list[tuple[list[str | float], list[tuple[str, str | None] | str]]] = [
        (["a/", "a/", "a/closed"], [kept, kept, close]),
        (["a/closed", "a/"], [close, "closed"]),
        (["a/short", 1.0, "a/"], [("keep-alive", "timeout=7"), "closed"]),
        (["a/", 1.0, "a/short", "a/", 1.0, "a/"], [kept, ("keep-alive", "timeout=7"), kept, kept]),
        (["a/second", "a/second", "a/"], [kept, close, "closed"]),
        (["a/", "a/", "a/", "a/second"], [kept, kept, kept, close]),
        (["a/first", "a/"], [close, "closed"]),
        (["a/old", 0.5, "a/", "a/old"], [kept, kept, close]),
        (["other/", "a/"], [close, "closed"]),
        (["other/kept", "a/", "other/"], [kept, kept, close]),
    ]
    for steps, expected in courses:
        theirs, ours = (course(server, *steps) for server in (pair.nginx, pair.buchner))
        assert ours == theirs, (steps, theirs, ours)
        assert ours == expected, steps
