"""Pebble, the ACME authority for tests, with a DNS server of its own, and small responders for its challenges."""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import os
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from buchner.certificates.authority import Authority
from buchner.certificates.challenges import Solvers
from buchner.certificates.settings import Issuer
from buchner.certificates.storage import Storage
from helpers.gateway import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EAB_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


@dataclass
class Trust:
    """A root of this test run, and a certificate of localhost in a file."""

    directory: Path
    root: Path = field(init=False)
    pair: Path = field(init=False)

    def __post_init__(self) -> None:
        """Issue both."""
        authority = Authority(Storage(self.directory))
        pair = authority.issue()
        self.root, self.pair = authority.root_file, self.directory / "pair.pem"
        self.pair.write_bytes(pair.chain_pem + pair.key_pem)


class Pebble:
    """A running Pebble and its DNS server, which says 127.0.0.1 for every name.

    Args:
        programs: Pebble and pebble-challtestsrv.
        directory: For its files.
        trust: Certificate of its HTTPS.
        dns: Address of another DNS server it is to ask.
        bindings: Whether accounts have to be bound (key identifier `kid-1`, key `EAB_KEY`).
        environment: PEBBLE_… variables.
    """

    def __init__(
        self, programs: tuple[str, str], directory: Path, trust: Trust, *, dns: str = "", bindings: bool = False,
        **environment: str,
    ) -> None:  # fmt: skip
        directory.mkdir(exist_ok=True)
        self.http_port, self.alpn_port, self.port, self.management = (free_port() for _ in range(4))
        self.trust = trust
        self.control = free_port()
        dns_port = free_port()
        live = trust.directory / "live" / "localhost"
        config = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(live / "fullchain.pem"),
            "privateKey": str(live / "privkey.pem"),
            "httpPort": self.http_port,
            "tlsPort": self.alpn_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": bindings,
            "externalAccountMACKeys": {"kid-1": EAB_KEY} if bindings else {},
            "domainBlocklist": ["blocked.test"],
            "retryAfter": {"authz": 1, "order": 1},
            "keyAlgorithm": "ecdsa",
            "profiles": {
                "default": {"description": "90 days", "validityPeriod": 7776000},
                "shortlived": {"description": "6 days", "validityPeriod": 518400},
            },
        }
        file = directory / "pebble.json"
        file.write_text(json.dumps({"pebble": config}))
        log = (directory / "pebble.log").open("wb")
        settings = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "5", "PEBBLE_AUTHZREUSE": "0", **environment}
        with log:
            self._processes = [
                subprocess.Popen(
                    [*_dns_server(programs[1], dns_port), "-management", f"127.0.0.1:{self.control}"],
                    stdout=log, stderr=log,
                ),
                subprocess.Popen(
                    [programs[0], "-config", str(file), "-dnsserver", dns or f"127.0.0.1:{dns_port}"],
                    stdout=log, stderr=log, env={**os.environ, **settings},
                ),
            ]  # fmt: skip
        try:
            for port in (self.port, self.control):
                await_port(port)
        except AssertionError:
            self.stop()
            raise

    @property
    def url(self) -> str:
        """The directory."""
        return f"https://localhost:{self.port}/dir"

    def issuer(self, **more: Any) -> Issuer:
        """It, as the keeper is told of it."""
        return Issuer(**{"url": self.url, "roots": str(self.trust.root), "title": "Pebble", **more}).resolved()

    def need(self, entry: str) -> None:
        """Skip the test if its directory lacks an entry: Debian 12's knows no renewal information and profiles."""
        context = ssl.create_default_context(cafile=str(self.trust.root))
        with urllib.request.urlopen(self.url, timeout=10, context=context) as response:
            if entry not in json.load(response):
                pytest.skip(f"this Pebble has no {entry}: it is older than 2.7")

    def tell_dns(self, what: str, **about: Any) -> None:
        """Change what the DNS server says: `set-txt`, `add-a`, `set-servfail`, …"""
        url = f"http://127.0.0.1:{self.control}/{what}"
        with urllib.request.urlopen(url, json.dumps(about).encode(), timeout=10):
            pass

    def renew_within(self, certificate: bytes, document: str) -> None:
        """Say when a certificate (PEM) is to be renewed, as a literal response."""
        about = json.dumps({"certificate": certificate.decode(), "ariResponse": document}).encode()
        url = f"https://localhost:{self.management}/set-renewal-info/"
        context = ssl.create_default_context(cafile=str(self.trust.root))
        with urllib.request.urlopen(url, about, timeout=10, context=context):
            pass

    def status_of(self, serial: str) -> dict[str, Any]:
        """What it knows of a certificate, by its serial number."""
        url = f"https://localhost:{self.management}/cert-status-by-serial/{serial}"
        context = ssl.create_default_context(cafile=str(self.trust.root))
        with urllib.request.urlopen(url, timeout=10, context=context) as response:
            found: dict[str, Any] = json.load(response)
        return found

    def stop(self) -> None:
        """End both programs."""
        for process in self._processes:
            process.kill()
            process.wait()


def _dns_server(program: str, port: int) -> list[str]:
    """pebble-challtestsrv as a DNS server alone; Debian 12's has other flags."""
    flags = subprocess.run([program, "-help"], capture_output=True, text=True, check=False).stderr
    rest = ["-doh", "", "-dnsserver"] if "-dnsserver" in flags else ["-dns01"]
    return [program, "-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", "", *rest, f"127.0.0.1:{port}"]


def await_port(port: int, seconds: float = 20) -> None:
    """Wait until somebody listens."""
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < until, f"nobody listens on port {port}"
            time.sleep(0.05)
        else:
            return


class HttpResponder:
    """Meets HTTP-01, as the gateway will: see `challenges.HttpChallenges`."""

    def __init__(self, port: int) -> None:
        self.tokens: dict[str, str] = {}
        self.seen: list[str] = []
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.seen.append(self.path)
                answer = owner.tokens.get(self.path.removeprefix("/.well-known/acme-challenge/"))
                self.send_response(404 if answer is None else 200)
                self.end_headers()
                self.wfile.write((answer or "not here").encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def put(self, token: str, answer: str) -> None:
        self.tokens[token] = answer

    def drop(self, token: str) -> None:
        self.tokens.pop(token, None)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class AlpnResponder:
    """Meets TLS-ALPN-01, as the gateway will: see `challenges.AlpnChallenges`."""

    def __init__(self, port: int, directory: Path) -> None:
        self.contexts: dict[str, ssl.SSLContext] = {}
        self._directory = directory
        self._socket = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._handshake, args=(self._socket.accept()[0],), daemon=True).start()

    def _handshake(self, connection: socket.socket) -> None:
        first = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        first.set_alpn_protocols(["acme-tls/1"])

        def choose(sock: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
            if name not in self.contexts:
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
            sock.context = self.contexts[name]
            return None

        first.sni_callback = choose
        with connection, suppress(OSError), first.wrap_socket(connection, server_side=True) as secure:
            secure.recv(1)

    def put(self, name: str, certificate: bytes, key: bytes) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["acme-tls/1"])
        file = self._directory / f"{os.urandom(8).hex()}.pem"
        armour = "-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(key).decode() + "-----END PRIVATE KEY-----\n"
        file.write_text(ssl.DER_cert_to_PEM_cert(certificate) + armour)
        context.load_cert_chain(file)
        self.contexts[name] = context

    def drop(self, name: str) -> None:
        self.contexts.pop(name, None)

    def close(self) -> None:
        self._socket.close()


class DnsRecords:
    """Meets DNS-01 by Pebble's DNS server: see `challenges.DnsProvider`."""

    def __init__(self, pebble: Pebble) -> None:
        self.values: list[tuple[str, str]] = []
        self._pebble = pebble

    def present(self, record: str, value: str) -> None:
        self.values.append((record, value))
        self._pebble.tell_dns("set-txt", host=f"{record}.", value=value)

    def remove(self, record: str, value: str) -> None:
        self.values.remove((record, value))
        if not any(one == record for one, _ in self.values):
            self._pebble.tell_dns("clear-txt", host=f"{record}.")


@dataclass
class Responders:
    """All three, for one Pebble."""

    http: HttpResponder
    alpn: AlpnResponder
    dns: DnsRecords

    @classmethod
    def of(cls, pebble: Pebble, directory: Path) -> Responders:
        return cls(
            HttpResponder(pebble.http_port), AlpnResponder(pebble.alpn_port, directory), DnsRecords(pebble)
        )  # fmt: skip

    def solvers(self) -> Solvers:
        return Solvers(self.http, self.alpn, self.dns)

    def close(self) -> None:
        self.http.close()
        self.alpn.close()


Fault = tuple[int, dict[str, str], bytes]
"""A response in place of the authority's: status, headers, body."""


class FaultyProxy:
    """HTTPS before Pebble, which passes all on but for what `fault` says.

    Args:
        pebble: What it stands before.
    """

    def __init__(self, pebble: Pebble) -> None:
        self.requests: list[tuple[str, str, bytes]] = []
        self.fault: Callable[[str, str, bytes], Fault | None] = lambda _method, _path, _body: None
        """By method, path and body; None passes the request on, a status of 0 closes the connection."""
        owner, port = self, pebble.port
        trusted = ssl.create_default_context(cafile=str(pebble.trust.root))

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                owner.requests.append((self.command, self.path, body))
                if (found := owner.fault(self.command, self.path, body)) is None:
                    upstream = http.client.HTTPSConnection("localhost", port, context=trusted, timeout=20)
                    headers = {name: value for name, value in self.headers.items() if name != "Connection"}
                    upstream.request(self.command, self.path, body or None, headers)
                    response = upstream.getresponse()
                    found = response.status, dict(response.getheaders()), response.read()
                    upstream.close()
                status, headers, data = found
                self.close_connection = True
                if status == 0:
                    return
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection", "date"):
                        self.send_header(name, value)
                self.send_header("Content-Length", headers.get("X-Length", str(len(data))))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_POST = do_HEAD = _pass_on  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Connections that clients close are no matter."""

        self._server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pebble.trust.pair)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        """The directory, through the proxy."""
        return f"https://localhost:{self._server.server_address[1]}/dir"

    def close(self) -> None:
        """Accept no more."""
        self._server.shutdown()
        self._server.server_close()
