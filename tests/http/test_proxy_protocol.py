"""The PROXY protocol in gateway.toml: whom it is believed, and what is known by it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from helpers.raw import Raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.gateway import Gateway

SAYS = '"$remote_addr $scheme $proxy_protocol_addr"'
ASK = "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n"


def configuration(trusted: str, more: str = "") -> str:
    return f"""
        [gateway]
        trusted_proxies = [{trusted}]
        {more}
        [[server]]  # with an address of its own
        listen = "127.0.0.1:{{port}} proxy_protocol"
        route = [{{ path = "/", respond = {{ status = 200, body = {SAYS} }} }}]
        """


def ask(gateway: Gateway, source: str) -> str:
    with Raw(gateway.port) as raw:
        raw.send(f"PROXY TCP4 {source} 192.0.2.9 1234 443\r\n{ASK}")
        return raw.reply().body.decode()


@pytest.mark.parametrize(
    ("trusted", "source", "expected"),
    [
        ("", "192.0.2.1", "127.0.0.1 http 192.0.2.1"),
        # The fields are the client's own: whom the proxy speaks for is no proxy.
        ('"127.0.0.1"', "192.0.2.1", "192.0.2.1 http 192.0.2.1"),
        # They are those of a trusted proxy behind the first.
        ('"127.0.0.1", "192.0.2.1"', "192.0.2.1", "203.0.113.9 https 192.0.2.1"),
    ],
)
def test_fields_are_believed_from_whom_the_proxy_speaks_for(
    run_gateway: Callable[..., Gateway], trusted: str, source: str, expected: str
) -> None:
    assert ask(run_gateway(configuration(trusted)), source) == expected


def test_connections_are_counted_for_whom_a_trusted_proxy_speaks(run_gateway: Callable[..., Gateway]) -> None:
    gateway = run_gateway(configuration('"127.0.0.1"', "max_connections_per_address = 1"))
    with Raw(gateway.port) as first, Raw(gateway.port) as second, Raw(gateway.port) as other:
        first.send("PROXY TCP4 192.0.2.1 192.0.2.9 1 443\r\n" + ASK)
        assert first.reply().status == 200
        second.send("PROXY TCP4 192.0.2.1 192.0.2.9 2 443\r\n" + ASK)
        assert second.closed()
        other.send("PROXY TCP4 192.0.2.2 192.0.2.9 3 443\r\n" + ASK)
        assert other.reply().status == 200


def test_values_of_version_2_are_variables(run_gateway: Callable[..., Gateway]) -> None:
    names = ("alpn", "authority", "unique_id", "ssl_version", "ssl_cn", "ssl_verify", "0xea", "ssl_0x22", "netns")
    says = " ".join(f"{name}=$proxy_protocol_tlv_{name}" for name in names)
    gateway = run_gateway(configuration("").replace(SAYS, f'"{says}"'))

    def value(kind: int, content: bytes) -> bytes:
        return struct.pack(">BH", kind, len(content)) + content

    tls = b"\x07" + struct.pack(">I", 3) + value(0x21, b"TLSv1.3") + value(0x22, b"me")
    values = value(1, b"h2") + value(2, b"shop") + value(5, b"id") + value(0x20, tls) + value(0xEA, b"vpce")
    payload = bytes([192, 0, 2, 1, 192, 0, 2, 9, 0, 1, 0, 2]) + values
    with Raw(gateway.port) as raw:
        raw.send(b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack(">H", len(payload)) + payload + ASK.encode())
        found = raw.reply().body.decode()
    tls_says = "ssl_version=TLSv1.3 ssl_cn=me ssl_verify=3 0xea=vpce ssl_0x22=me"
    assert found == f"alpn=h2 authority=shop unique_id=id {tls_says} netns="
