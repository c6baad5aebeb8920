"""Files with certificates and keys: each fault has its own message, what is odd is a warning."""

from __future__ import annotations

import datetime as dt
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

from buchner.certificates.pem import load_pair, parse_pair, read_passwords
from buchner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8
OPENSSL = serialization.PrivateFormat.TraditionalOpenSSL
OPEN = serialization.NoEncryption()
NOW = time.time()


def title(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


class Issuer:
    """An authority of a test: a root, or one issued by another."""

    def __init__(self, name: str, parent: Issuer | None = None) -> None:
        self.name = title(name)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = (parent or self).sign(self.name, self.key, ca=True)

    def sign(
        self, subject: x509.Name, key: Any, *names: str, ca: bool = False, days: tuple[int, int] = (-1, 30)
    ) -> bytes:
        now = dt.datetime.fromtimestamp(NOW, dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + dt.timedelta(days=days[0]))
            .not_valid_after(now + dt.timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
            )
        if not ca:
            url = x509.UniformResourceIdentifier("http://ca.test/issuer.der")
            access = x509.AccessDescription(x509.oid.AuthorityInformationAccessOID.CA_ISSUERS, url)
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(PEM)


ROOT = Issuer("Root")
MIDDLE = Issuer("Middle", ROOT)
INNER = Issuer("Inner", MIDDLE)
KEY = ec.generate_private_key(ec.SECP256R1())
LEAF = INNER.sign(title("shop"), KEY, "shop.test", "*.shop.test")
CHAIN = LEAF + INNER.certificate + MIDDLE.certificate
KEY_PEM = KEY.private_bytes(PEM, PKCS8, OPEN)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes, bytes], tuple[Path, Path]]:
    def files(certificate: bytes, key: bytes) -> tuple[Path, Path]:
        paths = tmp_path / "site.crt", tmp_path / "site.key"
        for path, data in zip(paths, (certificate, key), strict=True):
            path.write_bytes(data)
            path.chmod(0o600)
        return paths

    return files


def fault(certificate: bytes, key: bytes, *passwords: bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_pair(certificate, key, passwords, cert_file="site.crt", key_file="site.key")
    return str(caught.value)


def warnings(certificate: bytes, *names: str, key: bytes = KEY_PEM) -> str:
    pair = parse_pair(certificate, key, names=names, cert_file="site.crt")
    return "\n".join(str(warning) for warning in pair.warnings)


def test_a_good_pair_has_no_warning_and_says_what_it_is(write: Callable[..., tuple[Path, Path]]) -> None:
    pair = load_pair(*write(CHAIN, KEY_PEM), names=["shop.test", "www.SHOP.test", "*.shop.test"])
    assert pair.warnings == ()
    assert pair.names == ("shop.test", "*.shop.test")
    assert pair.issuer == "Inner"
    assert len(pair.chain) == 3
    assert pair.life == pytest.approx(31 * 86400, abs=2)
    assert b"".join(pair.chain_pem.split()) == b"".join(CHAIN.split())
    assert b"".join(pair.key_pem.split()) == b"".join(KEY_PEM.split())


def test_what_is_returned_reads_as_itself() -> None:
    pair = parse_pair(CHAIN, KEY_PEM)
    assert parse_pair(pair.chain_pem, pair.key_pem) == pair
    assert "key=" not in repr(pair)


@pytest.mark.parametrize(
    ("key", "form"),
    [
        (rsa.generate_private_key(65537, 2048), PKCS8),
        (rsa.generate_private_key(65537, 2048), OPENSSL),
        (ec.generate_private_key(ec.SECP384R1()), PKCS8),
        (ec.generate_private_key(ec.SECP521R1()), OPENSSL),
        (ed25519.Ed25519PrivateKey.generate(), PKCS8),
    ],
    ids=["rsa-pkcs8", "rsa-pkcs1", "p384-pkcs8", "p521-sec1", "ed25519"],
)
@pytest.mark.parametrize("password", [None, b"s3cret"])
def test_keys_of_every_form(key: Any, form: serialization.PrivateFormat, password: bytes | None) -> None:
    lock = serialization.BestAvailableEncryption(password) if password else OPEN
    text = key.private_bytes(PEM, form, lock)
    if isinstance(key, ec.EllipticCurvePrivateKey) and form is OPENSSL:
        text = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + text
    certificate = INNER.sign(title("a"), key, "a.test") + INNER.certificate
    assert parse_pair(certificate, text, [b"wrong", b"s3cret"] if password else []).names == ("a.test",)


def test_certificate_and_key_in_one_file(write: Callable[..., tuple[Path, Path]]) -> None:
    both, _ = write(KEY_PEM + b"comment\r\n" + CHAIN.replace(b"\n", b"\r\n"), b"")
    assert load_pair(both, both).warnings == ()


def test_a_trusted_certificate_of_openssl(require_peer: Callable[[str], str]) -> None:
    command = [require_peer("openssl"), "x509", "-trustout", "-addtrust", "serverAuth"]
    trusted = subprocess.run(command, input=LEAF, capture_output=True, check=True).stdout
    assert b"TRUSTED CERTIFICATE" in trusted
    assert parse_pair(trusted + INNER.certificate, KEY_PEM).names == ("shop.test", "*.shop.test")


def test_passwords_are_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    file.write_bytes(b"one\r\ntwo words\n\nthree")
    assert read_passwords(file) == [b"one", b"two words", b"three"]


ENCRYPTED = KEY.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"right"))
DER = x509.load_pem_x509_certificate(LEAF).public_bytes(serialization.Encoding.DER)


def key_of(key: Any) -> bytes:
    return bytes(key.private_bytes(PEM, PKCS8, OPEN))


OTHER = key_of(ed25519.Ed25519PrivateKey.generate())


@pytest.mark.parametrize(
    ("certificate", "key", "message"),
    [
        (b"", KEY_PEM, "site.crt: is empty"),
        (b"hello\n", KEY_PEM, "site.crt: is not PEM"),
        (DER, KEY_PEM, "site.crt: is binary (DER or PKCS #12), not PEM: openssl x509 -inform der"),
        (KEY_PEM, LEAF, "site.crt: has a key and no certificate: are the two files in the wrong order?"),
        (KEY_PEM, LEAF, "site.key: has a certificate and no key: are the two files in the wrong order?"),
        (LEAF[:-30], KEY_PEM, "site.crt: the CERTIFICATE that begins on line 1 has no end: is the file cut off?"),
        (LEAF[:-60] + LEAF, KEY_PEM, "line 1 has no end"),
        (LEAF + LEAF.replace(b"MII", b"MIJ"), KEY_PEM, "site.crt: certificate 2 (line "),
        (LEAF.replace(b"MII", b"M!I"), KEY_PEM, "certificate 1 (line 1) is damaged or unknown here: not base64"),
        (LEAF.replace(b"CERTIFICATE", b"CERTIFICATE REQUEST"), KEY_PEM, "site.crt: has a certificate request: send it"),
        (LEAF.replace(b"CERTIFICATE", b"PKCS7"), KEY_PEM, "site.crt: has PKCS #7: openssl pkcs7"),
        (LEAF, b"", "site.key: is empty"),
        (LEAF, b"\x30\x82", "site.key: is binary (DER or PKCS #12), not PEM: openssl pkey -inform der"),
        (LEAF, KEY_PEM.replace(b"PRIVATE", b"PUBLIC"), "site.key: has the public key only"),
        (LEAF, KEY_PEM.replace(b"PRIVATE", b"OPENSSH PRIVATE"), "has a OPENSSH PRIVATE KEY, which is not"),
        (LEAF, KEY_PEM.replace(b"MIG", b"MIH"), "site.key: the key (line 1) is damaged"),
        (LEAF, OTHER, "the key in site.key does not belong to this certificate (shop.test)"),
        (INNER.certificate + LEAF, KEY_PEM, "belongs to certificate 2 of this file (shop.test), which has to be"),
        (LEAF, key_of(rsa.generate_private_key(65537, 1024)), "site.key: an RSA key of 1024 bits: it has to have 2048"),
        (LEAF, key_of(ec.generate_private_key(ec.SECP256K1())), "site.key: an ECDSA key on the curve secp256k1"),
        (LEAF, key_of(ed448.Ed448PrivateKey.generate()), "site.key: a Ed448 key is not for TLS"),
        (LEAF, key_of(dsa.generate_private_key(2048)), "site.key: a DSA key is not for TLS"),
        (LEAF, ENCRYPTED, "site.key: the key is encrypted: name a file with its password"),
    ],
)  # fmt: skip
def test_each_fault_has_its_own_words(certificate: bytes, key: bytes, message: str) -> None:
    assert message in fault(certificate, key)


def test_wrong_passwords_are_told() -> None:
    assert "the password does not open it" in fault(LEAF, ENCRYPTED, b"wrong")
    assert "none of the passwords opens it" in fault(LEAF, ENCRYPTED, b"wrong", b"also")


def test_both_files_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_pair(tmp_path / "no.crt", tmp_path / "no.key")
    assert str(caught.value) == (
        f"{tmp_path}/no.crt: cannot be read: No such file or directory\n"
        f"{tmp_path}/no.key: cannot be read: No such file or directory"
    )


def test_no_message_has_the_key(write: Callable[..., tuple[Path, Path]]) -> None:
    secret = KEY_PEM.splitlines()[1].decode()
    for key in (KEY_PEM[:-40], KEY_PEM.replace(b"MIG", b"MIH"), KEY_PEM + b"x", ENCRYPTED):
        files = write(LEAF.replace(b"MII", b"MIJ"), key)
        with pytest.raises(ConfigError) as caught:
            load_pair(*files)
        assert secret[10:30] not in str(caught.value)


@pytest.mark.parametrize(
    ("days", "message"), [((-60, -1), "expired on "), ((2, 30), "is not valid before ")], ids=["expired", "early"]
)
def test_validity_is_a_warning(days: tuple[int, int], message: str) -> None:
    certificate = INNER.sign(title("a"), KEY, "a.test", days=days) + INNER.certificate
    assert f"site.crt: {message}" in warnings(certificate)


def test_a_name_that_is_not_covered_is_a_warning() -> None:
    told = warnings(CHAIN, "shop.test", "a.b.shop.test", "other.test")
    assert "does not cover a.b.shop.test, only shop.test, *.shop.test" in told
    assert "does not cover other.test" in told
    assert "cover shop.test" not in told


def test_the_chain_is_put_in_order() -> None:
    swapped = LEAF + MIDDLE.certificate + INNER.certificate
    assert "the chain is not in order" in warnings(swapped)
    assert parse_pair(swapped, KEY_PEM).chain == parse_pair(CHAIN, KEY_PEM).chain


def test_a_chain_that_lacks_or_has_too_much_is_told() -> None:
    assert "the certificate of its issuer is missing" in warnings(LEAF)
    assert "Root has issued none of the other certificates" in warnings(LEAF + INNER.certificate + ROOT.certificate)
    assert warnings(CHAIN + ROOT.certificate) == ""


def test_a_key_that_everybody_can_read_is_told(write: Callable[..., tuple[Path, Path]]) -> None:
    certificate, key = write(CHAIN, KEY_PEM)
    key.chmod(0o644)
    assert "chmod 600" in str(load_pair(certificate, key).warnings[0])


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "huge"
    with file.open("wb") as opened:
        opened.truncate(1 << 33)
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load_pair(file, file)
