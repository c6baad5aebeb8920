"""Limits in gateway.toml: presets, headers, networks, reloads, and what is wrong with them."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from buchner.config import load_dict
from buchner.errors import ConfigError
from buchner.rates import rate
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.gateway import Gateway

TOML = """
[limits]
login = "3/hour by address"
search = "2/hour by $arg_user burst 3"

[limit_conn_zone.address]
key = "$binary_remote_addr"

[[server]]
limit_req_headers = true
limit_conn = [{ zone = "address", connections = 100 }]

[[server.route]]
path = "/login"
limit = "login"
respond = "in"

[[server.route]]
path = "/search"
limit = ["search"]
limit_req_status = 503
respond = "found"

[[server.route]]
path = "/"
respond = "free"
"""


def _statuses(gateway: Gateway, path: str, count: int) -> list[int]:
    return [gateway.get(path).status for _ in range(count)]


def test_presets_limit_by_address_or_a_text(run_gateway: Callable[..., Gateway]) -> None:
    gateway = run_gateway(TOML)
    first = gateway.get("/login")
    assert (first.get("ratelimit-policy"), first.get("ratelimit")) == ('"login";q=3;w=3600', '"login";r=2;t=1200')
    assert _statuses(gateway, "/login", 3) == [200, 200, 429]
    refused = gateway.get("/login")
    assert (refused.get("ratelimit") or "").startswith('"login";r=0;t=')
    assert 1190 <= int(refused.get("retry-after") or 0) <= 1200
    assert _statuses(gateway, "/search?user=a", 5) == [200, 200, 200, 200, 503]
    assert _statuses(gateway, "/search?user=b", 1) == [200]
    # An empty key is not counted.
    assert _statuses(gateway, "/search", 6) == [200] * 6
    assert gateway.get("/").get("ratelimit") is None


def _reload(gateway: Gateway, changes: dict[str, str], free: str) -> None:
    """Change the file, and wait until the new plan is there."""
    text = gateway.file.read_text()
    for old, new in {**changes, '"free"': f'"{free}"'}.items():
        text = text.replace(old, new)
    gateway.file.write_text(text)
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: gateway.get("/").body == free.encode(), "the new plan")


def test_what_was_counted_outlives_a_reload(run_gateway: Callable[..., Gateway]) -> None:
    gateway = run_gateway(TOML)
    assert _statuses(gateway, "/login", 4) == [200, 200, 200, 429]
    _reload(gateway, {'respond = "in"': 'respond = "changed"'}, "other")
    assert _statuses(gateway, "/login", 1) == [429]
    # Another key is another table.
    gateway.file.write_text(gateway.file.read_text().replace('"other"', '"free"'))
    _reload(gateway, {"by address": "by $remote_addr"}, "third")
    assert _statuses(gateway, "/login", 4) == [200, 200, 200, 429]


ZONE = {"key": "$remote_addr", "rate": "1r/s"}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"limit": "logn", "limits": {"login": "5/minute"}}, 'there is no limit "logn" in [limits]'),
        ({"limits": {"a": "five a minute"}}, '"five a minute" is not a rate'),
        ({"limits": {"a": "5/fortnight"}}, "is not a rate"),
        ({"limits": {"a": "5/minute by moon"}}, '"moon" is nothing to count by: address, host, path, everyone'),
        ({"limits": {"a": "5/minute by $none"}}, "none"),
        ({"limits": {"a": "1/s"}, "limit_req_zone": {"a": ZONE}}, '"a" is one of [limits] already'),
        ({"limit_req_zone": {"a": {**ZONE, "rate": "fast"}}}, '"fast" is not a rate'),
        ({"limit_req_zone": {"a": {**ZONE, "size": "1k"}}}, 'the zone "a" is too small'),
        ({"limit_req_zone": {"a": {**ZONE, "ipv6_prefix": 64}}}, 'the key is "$remote_addr"'),
        ({"limit_req_zone": {"a": {**ZONE, "key": ""}}}, "the key is empty"),
        ({"limit_req": [{"zone": "b"}], "limit_req_zone": {"a": ZONE}}, 'there is no limit_req_zone "b"'),
        ({"limit_conn": [{"zone": "b", "connections": 1}]}, 'there is no limit_conn_zone "b"'),
    ],
)
def test_a_wrong_limit_is_refused(document: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_dict({"server": [{"route": [{"path": "/", "respond": 204}]}], **document}, "here")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "milli", "period"),
    [
        ("10r/s", 10_000, 1),
        ("1r/m", 16, 1),
        ("5/minute", 5000, 60),
        ("5 per minute", 5000, 60),
        ("100 per 2 hours", 100_000, 7200),
        ("1/5 minutes", 1000, 300),
        ("1000/day", 1_000_000, 86_400),
    ],
)
def test_rates(text: str, milli: int, period: int) -> None:
    assert rate(text) == (milli, period)


@pytest.mark.parametrize("text", ["", "0/s", "-1/s", "5/", "5/s by", "r/s", "99999999999/s"])
def test_no_rates(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        rate(text)
