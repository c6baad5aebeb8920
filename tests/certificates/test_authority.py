"""Certificates made here: the local authority, self-signed ones, and those of TLS-ALPN-01."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from buchner.certificates.authority import Authority
from buchner.certificates.making import DAY, SELF_SIGNED, challenge_certificate, new_key, request_pem, self_signed
from buchner.certificates.storage import Storage

if TYPE_CHECKING:
    from pathlib import Path

    from buchner.certificates.pem import Pair


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "certificates")


def handshake(pair: Pair, directory: Path, name: str, **trust: str) -> None:
    """A TLS handshake of Python's client, which checks chain, name and times."""
    file = directory / "pair.pem"
    file.write_bytes(pair.chain_pem + pair.key_pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    client = ssl.create_default_context(**trust)  # type: ignore[arg-type]
    left, right = socket.socketpair()

    def serve() -> None:
        with left:
            try:
                with server.wrap_socket(left, server_side=True) as secure:
                    secure.unwrap()
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with right, client.wrap_socket(right, server_hostname=name) as secure:
            secure.unwrap()
    finally:
        thread.join()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "shop.test", "www.shop.test"])
def test_who_trusts_the_root_trusts_its_certificates(storage: Storage, tmp_path: Path, name: str) -> None:
    authority = Authority(storage)
    pair = authority.issue(["shop.test", "*.shop.test"])
    handshake(pair, tmp_path, name, cafile=str(authority.root_file))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(pair, tmp_path, "other.test", cafile=str(authority.root_file))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(pair, tmp_path, name)


def test_root_and_certificate_stay_until_they_are_old_or_lack_a_name(storage: Storage) -> None:
    root = Authority(storage).root_file.read_bytes()
    first = Authority(storage).issue(["a.test"])
    assert Authority(storage).issue(["a.test"]) == first == Authority(storage).issue()
    second = Authority(storage).issue(["b.test"])
    assert second != first
    assert second.covers("b.test")
    late = time.time() + 61 * DAY
    assert Authority(storage, late).issue() != second
    assert Authority(storage).root_file.read_bytes() == root
    later = time.time() + 3600 * DAY
    renewed = Authority(storage, later)
    assert renewed.root_file.read_bytes() != root
    assert renewed.issue().issuer == "Buchner development authority" or renewed.issue().not_after > later


def test_a_certificate_of_another_root_is_replaced(storage: Storage, tmp_path: Path) -> None:
    foreign = Authority(Storage(tmp_path / "other")).issue()
    authority = Authority(storage)
    storage.write("localhost", foreign)
    handshake(authority.issue(), tmp_path, "localhost", cafile=str(authority.root_file))


def test_the_root_issues_no_authorities(storage: Storage) -> None:
    root = x509.load_pem_x509_certificate(Authority(storage).root_file.read_bytes())
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    assert (storage.root / "live" / "development-root" / "privkey.pem").stat().st_mode & 0o777 == 0o600


def test_how_to_trust_names_the_file_for_a_shell(tmp_path: Path) -> None:
    authority = Authority(Storage(tmp_path / "my certificates"))
    assert f"curl --cacert '{authority.root_file}'" in authority.how_to_trust()


def test_self_signed(tmp_path: Path) -> None:
    pair = self_signed(["shop.test", "192.0.2.1"])
    assert (pair.issuer, pair.names, pair.warnings) == (SELF_SIGNED, ("shop.test", "192.0.2.1"), ())
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(pair, tmp_path, "shop.test")


def test_the_certificate_of_a_challenge() -> None:
    """RFC 8737 section 3: the name alone, and a critical extension with an OCTET STRING."""
    digest = hashlib.sha256(b"token.thumbprint").digest()
    der, _ = challenge_certificate("shop.test", digest)
    certificate = x509.load_der_x509_certificate(der)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName("shop.test")]
    found = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
    assert found.critical
    assert isinstance(found.value, x509.UnrecognizedExtension)
    assert found.value.value == b"\x04\x20" + digest


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048"])
def test_a_request_has_all_names(kind: str) -> None:
    request = x509.load_pem_x509_csr(request_pem(["a.test", "*.a.test", "2001:db8::1"], new_key(kind)))
    assert request.is_signature_valid
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["a.test", "*.a.test", "2001:db8::1"]
