"""Conditions on who the client is, in gateway.toml: its network, its country."""

from __future__ import annotations

import os
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

import pytest

from buchner import _native
from buchner.config import load_dict
from buchner.errors import ConfigError
from helpers.mmdb import database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from helpers.gateway import Gateway

BELIEVE = 'real_ip = { from = ["127.0.0.1"], header = "X-Client" }'
FRANCE = {"country": {"iso_code": "FR", "is_in_european_union": True}, "subdivisions": [{"iso_code": "IDF"}]}
BRAZIL = {"country": {"iso_code": "BR", "geoname_id": 3469034}}


def ask(gateway: Gateway, client: str) -> str:
    request = f"GET / HTTP/1.1\r\nHost: x\r\nX-Client: {client}\r\nConnection: close\r\n\r\n"
    return gateway.ask(request).body.decode()


def test_conditions_on_the_network_of_the_client(run_gateway: Callable[..., Gateway]) -> None:
    gateway = run_gateway(f"""
        {BELIEVE}
        [[server]]
        [[server.route]]
        path = "/"
        respond = "public"
        [[server.route.rewrite]]
        if = {{ when = {{ client = ["192.0.2.0/24", "2001:db8::/32"] }}, then = [
            {{ return = {{ status = 200, text = "in" }} }}
        ] }}
        [[server.route.rewrite]]
        if = {{ when = {{ all = [
            {{ not = {{ client = ["198.51.100.0/25"] }} }}, {{ client = ["198.51.100.0/24"] }}
        ] }}, then = [{{ return = {{ status = 200, text = "half" }} }}] }}
        """)
    for client, expected in [
        ("192.0.2.1", "in"),
        ("192.0.3.1", "public"),
        ("2001:db8::1", "in"),
        ("2001:db9::1", "public"),
        ("198.51.100.1", "public"),
        ("198.51.100.200", "half"),
        ("", "public"),
    ]:
        assert ask(gateway, client) == expected, client


@pytest.fixture
def countries() -> Iterator[str]:
    """A database that the gateway's own user can read, too."""
    with NamedTemporaryFile(suffix=".mmdb") as file:
        file.write(database({"192.0.2.0/24": FRANCE, "2001:db8::/32": BRAZIL}))
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        yield file.name


def test_a_database_says_where_the_client_is(run_gateway: Callable[..., Gateway], countries: str) -> None:
    gateway = run_gateway(f"""
        {BELIEVE}
        [geoip.country]
        database = "{countries}"
        field = "country.iso_code"
        default = "ZZ"
        [geoip.part]
        database = "{countries}"
        field = "subdivisions.0.iso_code"
        [geoip.number]
        database = "{countries}"
        field = "country.geoname_id"
        [geoip.union]
        database = "{countries}"
        field = "country.is_in_european_union"
        [geoip.asked]
        database = "{countries}"
        field = "country.iso_code"
        source = "$arg_of"
        [geoip.whole]
        database = "{countries}"
        field = "country"
        default = "(no text)"
        [[server]]
        [[server.route]]
        path = "/"
        respond = "$country $part $number $union $asked $whole"
        [[server.route.rewrite]]
        if = {{ when = '$country = "BR"', then = [{{ return = {{ status = 200, text = "oi $number" }} }}] }}
        """)
    assert ask(gateway, "192.0.2.7") == "FR IDF  true  (no text)"
    assert ask(gateway, "2001:db8::7") == "oi 3469034"
    assert ask(gateway, "203.0.113.1") == "ZZ     (no text)"
    found = gateway.ask("GET /?of=192.0.2.9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert found.body == b"ZZ    FR (no text)"


@pytest.mark.parametrize(
    ("geoip", "message"),
    [
        ({"database": "/nowhere.mmdb", "field": "a"}, 'geoip.x.database: there is no file "/nowhere.mmdb"'),
        ({"database": "/etc/passwd", "field": "a..b"}, 'geoip.x.field: "a..b" is no field'),
    ],
)
def test_wrong_databases_are_named(geoip: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_dict({"geoip": {"x": geoip}, "app": {}}, "test")
    assert message in str(refused.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.mmdb"
    file.write_bytes(b"no database")
    loaded = load_dict({"geoip": {"x": {"database": str(file), "field": "a"}}, "server": [{"route": []}]}, "test")
    with pytest.raises(ValueError, match=r"x\.mmdb is no database in the MaxMind format"):
        _native.check_config(loaded.plan_json().decode())


@pytest.mark.parametrize("network", ["10.0.0.0/33", "here", "1.1.1.1-1.1.1.2"])
def test_wrong_networks_are_named(network: str) -> None:
    step = {"if": {"when": {"client": ["10.0.0.0/8", network]}, "then": [{"return": 403}]}}
    route = {"path": "/", "respond": 204, "rewrite": [step]}
    with pytest.raises(ConfigError) as refused:
        load_dict({"server": [{"route": [route]}]}, "test")
    assert f'client[1]: "{network}" is not an address or a network' in str(refused.value)
