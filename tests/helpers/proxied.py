"""A gateway in front of one upstream, and what the upstream has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from helpers.upstream import Upstream


def proxy(port: int, route: str = "", server: str = "") -> str:
    return (
        f'[[server]]\n{server}\n[[server.route]]\npath = "/"\nproxy = "http://up"\n{route}\n'
        f'[upstream.up]\nservers = ["127.0.0.1:{port}"]\n'
    )


def seen(upstream: Upstream) -> dict[str, str]:
    lines = upstream.heads[-1].decode("latin-1").split("\r\n")[1:-2]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
