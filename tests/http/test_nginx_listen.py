"""``listen``: nginx and Buchner on the same file listen on the same ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from helpers.gateway import BUCHNER, free_port, hold
from helpers.nginx import Server
from helpers.raw import Raw

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LISTEN = """
server {
    listen 127.0.0.1:PORT;
    listen 127.0.0.1:FIRST-LAST default_server;
    return 200 first:$server_port;
}
server {
    listen 127.0.0.1:FIRST-LAST;
    server_name other;
    return 200 other:$server_port;
}
"""


def free_range() -> int:
    """The first of three ports in a row that nobody listens on."""
    for _ in range(100):
        first = free_port()
        try:
            for port in (first + 1, first + 2):
                hold(port)
        except (OSError, OverflowError):
            continue
        return first
    raise AssertionError("no three free ports in a row")


@pytest.mark.parametrize("who", ["nginx", "buchner"])
def test_a_range_of_ports_is_listened_on_from_end_to_end(
    tmp_path: Path, who: str, require_peer: Callable[[str], str]
) -> None:
    command = [require_peer("nginx"), "-c"] if who == "nginx" else [*BUCHNER, "run"]
    first = free_range()
    http = LISTEN.replace("FIRST", str(first)).replace("LAST", str(first + 2))
    server = Server(tmp_path / who, http, command)
    try:
        for port in range(first, first + 3):
            for host, name in (("x", "first"), ("other", "other")):
                with Raw(port) as raw:
                    raw.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
                    assert raw.reply().body.decode() == f"{name}:{port}"
    finally:
        server.stop()
