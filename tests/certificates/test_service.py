"""The service has its certificates issued by a real authority: from the configuration to a handshake."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from buchner.certificates.making import self_signed
from buchner.certificates.process import Process
from buchner.errors import BuchnerError
from helpers.gateway import free_port
from helpers.instance import Instance
from helpers.load import APP
from helpers.raw import ask
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from buchner.certificates.storage import Storage
    from helpers.pebble import Pebble
    from helpers.raw import Reply

pytest.importorskip("flask")

SELF_SIGNED = "Buchner, self-signed"
TOML = """
[acme]
authority = "{url}"
roots = "{roots}"
directory = "certificates"

[app]
target = "shop:app"
workers = 1

[[server]]
listen = ["127.0.0.1:0 tls", "127.0.0.1:{http}"]
names = ["shop.test", "www.shop.test"]
access = ["deny all"]
[server.tls]
acme = true
[[server.route]]
path = "/"
app = true
"""


@pytest.fixture(scope="module")
def pebble(run_pebble: Callable[..., Pebble]) -> Pebble:
    """One of its own: at the ports where the others' looks for challenges, responders of the tests listen."""
    return run_pebble()


class Site:
    """The service, whose port 80 is where Pebble looks for HTTP-01."""

    def __init__(self, directory: Path, pebble: Pebble, toml: str = TOML) -> None:
        self.pebble = pebble
        (directory / "shop.py").write_text(APP)
        text = toml.replace("{url}", pebble.url).replace("{roots}", str(pebble.trust.root))
        (directory / "gateway.toml").write_text(text.replace("{http}", str(pebble.http_port)))
        self.instance = Instance(directory, "run", "gateway.toml")

    def connect(self) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", self.instance.port), timeout=20)
        return context.wrap_socket(plain, server_hostname="shop.test")

    def served(self) -> tuple[str, int]:
        """Issuer and serial number of the certificate that a new connection gets."""
        with self.connect() as stream:
            found = x509.load_der_x509_certificate(stream.getpeercert(binary_form=True) or b"")
        return str(found.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value), found.serial_number

    def issued(self, but: int = 0) -> int:
        """Wait for a certificate of Pebble's that is another than this one."""

        def look() -> int:
            with contextlib.suppress(OSError):
                issuer, serial = self.served()
                return serial if issuer.startswith("Pebble") and serial != but else 0
            return 0

        return wait_for(look, "a certificate of the authority's", 60)

    def keepers(self) -> list[int]:
        return self.instance._children("buchner.certificates")


@pytest.fixture
def site(tmp_path: Path, pebble: Pebble) -> Iterator[Site]:
    made = Site(tmp_path, pebble)
    yield made
    made.instance.end()


def get(stream: ssl.SSLSocket, target: str = "/n/1") -> int:
    stream.sendall(f"GET {target} HTTP/1.1\r\nHost: shop.test\r\n\r\n".encode())
    read = stream.makefile("rb")
    status = int(read.readline().split()[1])
    fields = dict(line.decode().lower().split(": ", 1) for line in iter(read.readline, b"\r\n"))
    read.read(int(fields["content-length"]))
    return status


def test_a_certificate_is_issued_renewed_and_swapped_without_a_failed_handshake(site: Site) -> None:
    first = site.issued()
    gateways = site.instance.gateways()
    statuses: list[int] = []
    failures: list[Exception] = []
    ended = threading.Event()

    def load() -> None:
        try:
            while not ended.is_set():
                with site.connect() as stream:
                    statuses.extend(get(stream) for _ in range(3))
        except Exception as error:  # noqa: BLE001 - a failure of any kind is one
            failures.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    told = site.instance.command("cert", "--directory", "certificates", "renew", "shop.test")
    assert told.returncode == 0, told.stderr
    second = site.issued(but=first)
    before = len(statuses)
    wait_for(lambda: len(statuses) > before + 20 or failures, "requests after it", 30)
    ended.set()
    thread.join(30)
    assert failures == []
    assert set(statuses) == {403}, "access rules hold for all but challenges"
    assert second != first
    assert site.instance.gateways() == gateways
    path = "/.well-known/acme-challenge/none"
    request = f"GET {path} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"
    assert ask(site.pebble.http_port, request).status == 403, "tokens are forgotten"


def test_gateway_and_keeper_are_killed_and_the_next_ones_go_on(site: Site) -> None:
    first = site.issued()
    (gateway,) = site.instance.gateways()
    (keeper,) = site.keepers()
    os.kill(keeper, signal.SIGKILL)
    wait_for(lambda: site.keepers() and site.keepers() != [keeper], "another keeper", 30)
    os.kill(gateway, signal.SIGKILL)
    site.instance.command("cert", "--directory", "certificates", "renew", "shop.test")
    site.issued(but=first)
    assert site.instance.gateways() != [gateway]
    keepers = site.keepers()
    assert len(keepers) == 1
    assert site.instance.end() == 0
    assert not Path(f"/proc/{keepers[0]}").exists()


def test_a_self_signed_certificate_is_served_while_the_authority_is_away(tmp_path: Path, pebble: Pebble) -> None:
    site = Site(tmp_path, pebble, TOML.replace("{url}", "https://127.0.0.1:1/dir"))
    try:
        site.instance.says("certificate of shop.test: not issued", 30)
        assert site.served()[0] == SELF_SIGNED
        assert len(site.keepers()) == 1
        toml = (tmp_path / "gateway.toml").read_text().replace("https://127.0.0.1:1/dir", pebble.url)
        (tmp_path / "gateway.toml").write_text(toml)
        assert site.instance.command("reload").returncode == 0
        site.issued()
        without = toml.replace("acme = true", 'certificate = "pair.pem"')
        pair = site.pebble.trust.pair.read_bytes()
        (tmp_path / "pair.pem").write_bytes(pair)
        (tmp_path / "gateway.toml").write_text(without)
        assert site.instance.command("reload").returncode == 0
        wait_for(lambda: not site.keepers(), "the end of the keeper", 20)
    finally:
        site.instance.end()


def test_serve_for_a_domain_redirects_once_its_certificate_is_issued(tmp_path: Path, pebble: Pebble) -> None:
    (tmp_path / "shop.py").write_text(APP)
    port, environ = free_port(), {"BUCHNER_CERTIFICATES": str(tmp_path / "certificates")}
    flags = ["--domain", "shop.test", "--bind", f"127.0.0.1:{port} tls", "--bind", f"127.0.0.1:{pebble.http_port}"]
    words = ["serve", "shop:app", "--workers", "1", *flags, "--authority"]

    def clear() -> Reply:
        return ask(pebble.http_port, "GET /n/1?a HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")

    site = Site.__new__(Site)
    site.instance = Instance(tmp_path, *words, "https://127.0.0.1:1/dir", environ=environ)
    try:
        site.instance.says("not issued", 30)
        assert site.served()[0] == SELF_SIGNED
        assert clear().status == 200
    finally:
        assert site.instance.end() == 0
    site.instance.output.unlink()
    environ["REQUESTS_CA_BUNDLE"] = str(pebble.trust.root)
    site.instance = Instance(tmp_path, *words, pebble.url, "--email", "a@shop.test", environ=environ)
    try:
        site.issued()
        wait_for(lambda: clear().status == 308, "the redirect", 30)
        assert clear().get("location") == f"https://shop.test:{port}/n/1?a"
        with site.connect() as stream:
            assert get(stream) == 200
    finally:
        assert site.instance.end() == 0


class Supervisor:
    """The other end of a keeper's control socket, and what it was told."""

    def __init__(self, storage: Storage) -> None:
        self.socket, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(20)
        self.process = Process(self.theirs, storage)

    def next(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.socket.recv(1 << 18))
        return found


@pytest.fixture
def supervisor(storage: Storage) -> Iterator[Supervisor]:
    made = Supervisor(storage)
    with made.socket, made.theirs:
        yield made


def test_a_certificate_that_a_full_disk_refused_is_kept_later(
    supervisor: Supervisor, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Process, "write_again", 0.01)
    pair = self_signed(["a.test"])
    supervisor.process.put("a.test", ("a.test",), pair, temporary=False)
    wait_for(lambda: storage.read("a.test"), "the certificate on the disk", 20)
    supervisor.process.put("a.test", ("a.test",), pair, temporary=False)
    assert supervisor.next() == {"op": "issued", "name": "a.test"}


def test_a_challenge_that_no_gateway_confirms_fails_and_is_taken_back(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("buchner.certificates.process._CONFIRM_SECONDS", 0.05)
    with pytest.raises(BuchnerError, match="did not take the challenge"):
        supervisor.process.meet("token", "token.thumbprint")
    assert supervisor.next() == {"op": "challenges", "id": 1, "http": {"token": "token.thumbprint"}}
    supervisor.process.forget("token")
    assert supervisor.next() == {"op": "challenges", "id": 2, "http": {}}


def test_an_upgrade_has_one_keeper_again(site: Site) -> None:
    first = site.issued()
    before = [*site.keepers(), *site.instance.gateways()]
    told = site.instance.command("upgrade")
    assert told.returncode == 0, told.stderr
    wait_for(lambda: not {*before} & {*site.keepers(), *site.instance.gateways()}, "the end of those before", 40)
    assert len(site.keepers()) == 1
    site.instance.command("cert", "--directory", "certificates", "renew", "shop.test")
    site.issued(but=first)
