"""Certificates whose files change while the service runs: taken without a restart, kept if the new ones are broken."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from buchner.certificates.authority import Authority
from buchner.certificates.storage import Storage
from helpers.instance import Instance
from helpers.load import APP
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("flask")

TOML = """
[gateway]
user = "root"

[app]
target = "shop:app"
workers = 1

[[server]]
listen = ["127.0.0.1:0 tls"]
names = ["a.test"]
[server.tls]
certificate = "live/fullchain.pem"
key = "live/privkey.pem"

[[server.route]]
path = "/"
app = true

[[server]]
listen = ["127.0.0.1:0 tls"]
names = ["b.test"]
[server.tls]
certificate = "b.pem"
[[server.route]]
path = "/"
respond = 204
"""


class Site:
    """The service, and the files of its certificates as certbot lays them out."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority(Storage(directory / "authority"))
        self.trusting = ssl.create_default_context(cafile=str(self.authority.root_file))
        self.number = 0
        (directory / "live").mkdir()
        self.serial = self.renew()
        pair = self.authority.sign(["b.test"])
        (directory / "b.pem").write_bytes(pair.chain_pem + pair.key_pem)
        (directory / "b.pem").chmod(0o600)
        (directory / "shop.py").write_text(APP)
        (directory / "gateway.toml").write_text(TOML)
        self.instance = Instance(directory, "run", "gateway.toml")

    def renew(self) -> str:
        """Put a new certificate in the archive, and lead the links to it; returns its serial number."""
        self.number += 1
        pair = self.authority.sign(["a.test"])
        for name, content in (("fullchain", pair.chain_pem), ("privkey", pair.key_pem)):
            file = self.directory / f"{name}{self.number}.pem"
            file.write_bytes(content)
            file.chmod(0o600)
            link = self.directory / "live" / f"{name}.pem"
            link.unlink(missing_ok=True)
            link.symlink_to(file)
        return pair.serial

    def connect(self, name: str = "a.test") -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.instance.port), timeout=20)
        return self.trusting.wrap_socket(plain, server_hostname=name)

    def served(self, name: str = "a.test") -> str:
        """The serial number of the certificate that a new connection gets."""
        with self.connect(name) as stream:
            return str((stream.getpeercert() or {})["serialNumber"]).lstrip("0").lower()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.instance.end()


def ask(stream: ssl.SSLSocket, target: str = "/n/1") -> int:
    stream.sendall(f"GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
    read = stream.makefile("rb")
    status = int(read.readline().split()[1])
    fields = dict(line.decode().lower().split(": ", 1) for line in iter(read.readline, b"\r\n"))
    read.read(int(fields["content-length"]))
    return status


def test_a_renewed_certificate_is_taken_under_load(site: Site) -> None:
    processes = [*site.instance.gateways(), *site.instance.workers()]
    assert site.served() == site.serial
    other = site.served("b.test")
    statuses: list[int] = []
    failures: list[Exception] = []
    ended = threading.Event()

    def load() -> None:
        try:
            while not ended.is_set():
                with site.connect() as stream:
                    statuses.extend(ask(stream) for _ in range(5))
        except Exception as error:  # noqa: BLE001 - a failure of any kind is one
            failures.append(error)

    thread = threading.Thread(target=load)
    with site.connect() as held:
        assert ask(held) == 200
        thread.start()
        for _ in range(2):
            serial = site.renew()
            wait_for(lambda serial=serial: site.served() == serial, "the new certificate", 30)  # type: ignore[misc]
            assert ask(held) == 200
            before = len(statuses)
            wait_for(lambda before=before: len(statuses) > before + 20, "requests after it", 30)  # type: ignore[misc]
        ended.set()
        thread.join(30)
        assert ask(held) == 200
    assert failures == []
    assert set(statuses) == {200}
    assert site.served("b.test") == other
    assert [*site.instance.gateways(), *site.instance.workers()] == processes
    site.instance.says("changed certificates are in force: live/fullchain.pem", 20, 2)
    assert "does not belong" not in site.instance.log


def test_a_broken_file_keeps_the_certificate_and_is_told_once(site: Site) -> None:
    file = site.directory / "live/fullchain.pem"
    file.unlink()
    file.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n")
    site.instance.says(f"{file}: the CERTIFICATE that begins on line 1 has no end", 30)
    assert site.served() == site.serial
    good = site.authority.sign(["b.test"])
    (site.directory / "b.pem").write_bytes(good.chain_pem + good.key_pem)
    wait_for(lambda: site.served("b.test") == good.serial, "the other certificate", 30)
    (site.directory / "live/privkey.pem").unlink()
    site.instance.says("privkey.pem: cannot be read: No such file or directory; the certificate in force stays", 30)
    assert site.instance.log.count("has no end") == 1
    assert site.served() == site.serial
    serial = site.renew()
    wait_for(lambda: site.served() == serial, "the repaired certificate", 30)
    assert site.instance.command("reload").returncode == 0
    assert site.served() == serial
