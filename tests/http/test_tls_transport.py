"""HSTS, cookies for TLS alone, and the most handshakes that there may be at a time."""

from __future__ import annotations

import socket
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from buchner.config import load_dict
from buchner.config.native import check_plan
from buchner.errors import ConfigError
from helpers.gateway import free_port
from helpers.tls import TestAuthority
from helpers.upstream import answer
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.gateway import Gateway
    from helpers.upstream import Upstream

TOML = """
[gateway]
io_threads = 1
{gateway}
[[server]]
{settings}
[[server.route]]
path = "/"
proxy = "http://127.0.0.1:{upstream}"

[[server]]
listen = ["127.0.0.1:{tls} tls"]
{settings}
[server.tls]
certificate = "{certificate}"
[[server.route]]
path = "/"
proxy = "http://127.0.0.1:{upstream}"
[[server.route]]
path = "/own"
respond = {{ status = 404, body = "none" }}
"""
COOKIES = ("Set-Cookie: a=1; Path=/", "Set-Cookie: b=2; secure", "Set-Cookie: c=secure")


def asked(port: int, path: str = "/") -> list[str]:
    """The head of a response over TLS, whoever the server is."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20)) as stream:
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        read = b"".join(iter(lambda: stream.recv(1 << 16), b""))
    return read.partition(b"\r\n\r\n")[0].decode().split("\r\n")


@pytest.fixture
def run(
    run_gateway: Callable[..., Gateway], run_upstream: Callable[..., Upstream]
) -> Callable[..., tuple[Gateway, int]]:
    """Start a gateway with an address in clear text and one with TLS; returns the latter's port too."""

    def start(certificate: Path, settings: str = "", gateway: str = "", *fields: str) -> tuple[Gateway, int]:
        upstream, tls = run_upstream(answer(b"x", *COOKIES, *fields)), free_port()
        text = TOML.format(gateway=gateway, settings=settings, upstream=upstream.port, tls=tls, certificate=certificate)
        return run_gateway(text), tls

    return start


@pytest.mark.kind("filter transport")
def test_hsts_and_cookies_over_https_alone(run: Callable[..., tuple[Gateway, int]], tmp_path: Path) -> None:
    certificate = TestAuthority(tmp_path).write("own", "a")
    gateway, tls = run(certificate, 'hsts = "365d includeSubDomains"\nsecure_cookies = true')
    head = asked(tls)
    assert "Strict-Transport-Security: max-age=31536000; includeSubDomains" in head
    cookies = ["a=1; Path=/; Secure", "b=2; secure", "c=secure; Secure"]
    assert [line for line in head if line.startswith("Set-Cookie")] == [f"Set-Cookie: {one}" for one in cookies]
    assert "Strict-Transport-Security: max-age=31536000; includeSubDomains" in asked(tls, "/own"), "errors too"
    clear = gateway.get()
    assert clear.get("strict-transport-security") is None
    assert [value for name, value in clear.fields if name == "set-cookie"] == [one[12:] for one in COOKIES]


def test_without_settings_nothing_is_said(run: Callable[..., tuple[Gateway, int]], tmp_path: Path) -> None:
    _, tls = run(TestAuthority(tmp_path).write("own", "a"))
    head = "\n".join(asked(tls))
    assert "Strict-Transport-Security" not in head
    assert "Set-Cookie: a=1; Path=/\n" in head


def test_what_the_app_says_of_hsts_holds(run: Callable[..., tuple[Gateway, int]], tmp_path: Path) -> None:
    own = "Strict-Transport-Security: max-age=5"
    _, tls = run(TestAuthority(tmp_path).write("own", "a"), 'hsts = "365d"', "", own)
    assert [line for line in asked(tls) if line.startswith("Strict")] == [own]


def test_hsts_begins_with_a_certificate_of_an_authority(
    run: Callable[..., tuple[Gateway, int]], tmp_path: Path
) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=a", "-addext", "subjectAltName=DNS:a", "-keyout", "self.key", "-out", "self.crt"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    certificate = tmp_path / "self.pem"
    certificate.write_bytes((tmp_path / "self.crt").read_bytes() + (tmp_path / "self.key").read_bytes())
    gateway, tls = run(certificate, 'hsts = "365d"')
    assert not any(line.startswith("Strict") for line in asked(tls))
    certificate.write_bytes(TestAuthority(tmp_path).write("own", "a").read_bytes())
    wait_for(lambda: "changed certificates are in force" in gateway.log, "the change", 30)
    assert "Strict-Transport-Security: max-age=31536000" in asked(tls)


@pytest.mark.parametrize(
    ("value", "words"),
    [("soon", "not a time"), ("1d preload", "for a year at least"), ("1d subdomains", "only includeSubDomains")],
)
def test_wrong_policies_are_refused(value: str, words: str) -> None:
    document = {"hsts": value, "server": [{"route": [{"path": "/", "respond": "x"}]}]}
    with pytest.raises(ConfigError, match=words):
        check_plan(load_dict(document, "test").plan_json().decode())


def test_the_oldest_handshake_is_given_up_where_there_are_too_many(
    run: Callable[..., tuple[Gateway, int]], tmp_path: Path
) -> None:
    gateway, tls = run(TestAuthority(tmp_path).write("own", "a"), gateway="max_handshakes = 8")
    half = [socket.create_connection(("127.0.0.1", tls), 20) for _ in range(8)]
    for connection in half:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01")  # a ClientHello that begins
    assert asked(tls)[0] == "HTTP/1.1 200 OK", "who shakes hands at once is served"
    assert half[0].recv(1) == b"", "the oldest was closed"
    half[-1].settimeout(0.2)
    with pytest.raises(TimeoutError):
        half[-1].recv(1)
    wait_for(lambda: "more than 8 TLS handshakes at a time (max_handshakes)" in gateway.log, "a line in the log", 5)
    for connection in half:
        connection.close()
