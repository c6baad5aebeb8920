"""Requests that a page of another site made: refused before the content, with the error page's status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.gateway import Gateway

TOML = """
[[server]]
check_origin = true
trusted_origins = ["https://shop.example"]

[[server.route]]
path = "/"
respond = "done"

[[server.route]]
path = "/hook"
check_origin = false
respond = "done"
"""


@pytest.mark.parametrize(
    ("method", "path", "header", "status"),
    [
        ("POST", "/", "Sec-Fetch-Site: same-origin", 200),
        ("POST", "/", "Sec-Fetch-Site: cross-site", 403),
        ("DELETE", "/", "Origin: https://evil.test", 403),
        ("POST", "/", "Origin: https://shop.example", 200),
        ("POST", "/", "Origin: http://test", 200),
        ("POST", "/", "X-Program: curl", 200),
        ("GET", "/", "Sec-Fetch-Site: cross-site", 200),
        ("POST", "/hook", "Sec-Fetch-Site: cross-site", 200),
    ],
)
def test_another_site_changes_nothing(
    method: str, path: str, header: str, status: int, run_gateway: Callable[..., Gateway]
) -> None:
    gateway = run_gateway(TOML)
    request = f"{method} {path} HTTP/1.1\r\nHost: test\r\n{header}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert gateway.ask(request).status == status
