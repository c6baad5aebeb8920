"""Keys, requests, and certificates that are made here: self-signed ones and those of challenges."""

from __future__ import annotations

import datetime as dt
import ipaddress
import time
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from buchner.certificates.names import as_address
from buchner.certificates.pem import Pair, parse_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

KEYS = ("p256", "p384", "rsa2048", "rsa4096")
SELF_SIGNED = "Buchner, self-signed"
"""Issuer of certificates that stand in until an authority has issued one."""
DAY = 86400.0
_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")


def new_key(kind: str = "p256") -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    """Make a private key.

    Args:
        kind: One of `KEYS`.
    """
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))
    return ec.generate_private_key(ec.SECP384R1() if kind == "p384" else ec.SECP256R1())


def key_pem(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """Return a key as PEM (PKCS #8), not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def subject_names(names: Sequence[str]) -> x509.SubjectAlternativeName:
    """Return normalised names as certificates and requests have them."""
    return x509.SubjectAlternativeName(
        [
            x509.IPAddress(ipaddress.ip_address(name)) if as_address(name) else x509.DNSName(name)
            for name in names
        ]
    )  # fmt: skip


def request_pem(names: Sequence[str], key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """Return a certificate request (RFC 2986) for normalised names."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(subject_names(names), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def builder(
    subject: x509.Name, issuer: x509.Name, key: CertificateIssuerPrivateKeyTypes, days: float, now: float
) -> x509.CertificateBuilder:
    """Begin a certificate that is valid from an hour ago, for clocks that are a little late.

    Args:
        subject: Whose it is.
        issuer: Who issues it.
        key: Whose public half goes into it.
        days: How long it is valid.
        now: Unix time.
    """
    first = dt.datetime.fromtimestamp(now - 3600, dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(first + dt.timedelta(days=days))
    )


def self_signed(names: Sequence[str], *, days: float = 90, now: float | None = None) -> Pair:
    """Make a certificate nobody trusts, so that a server has one before an authority has issued it.

    Args:
        names: Normalised names it is for.
        days: How long it is valid.
        now: Unix time; None: the clock's.
    """
    key, title = new_key(), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, SELF_SIGNED)])
    certificate = (
        builder(title, title, key, days, time.time() if now is None else now)
        .add_extension(subject_names(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return parse_pair(certificate.public_bytes(serialization.Encoding.PEM), key_pem(key), now=now)


def challenge_certificate(name: str, digest: bytes) -> tuple[bytes, bytes]:
    """Make the certificate that meets a TLS-ALPN-01 challenge (RFC 8737 section 3).

    Args:
        name: The normalised name that is proved.
        digest: SHA-256 of the key authorization.

    Returns:
        Certificate (DER) and key (DER, PKCS #8).
    """
    key = new_key()
    title = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ACME challenge")])
    certificate = (
        builder(title, title, key, 2, time.time())
        .add_extension(subject_names([name]), critical=False)
        .add_extension(x509.UnrecognizedExtension(_ACME_IDENTIFIER, b"\x04\x20" + digest), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.DER), key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
