"""Certificates of clients, from an authority of the test's own."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from buchner.certificates.making import key_pem, new_key

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes


class ClientAuthority:
    """Signs certificates of clients.

    Args:
        directory: where its files are written.
        name: what it and its files are called.

    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._key = new_key()
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = directory / f"{name}-ca.pem"
        """Its own certificate."""
        built = self._builder(self._name, self._key, 365).add_extension(
            x509.BasicConstraints(True, None), critical=True
        )
        self.file.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def _builder(self, subject: x509.Name, key: CertificateIssuerPrivateKeyTypes, days: int) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(issuer_name=self._name, subject_name=subject)
        builder = builder.public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - dt.timedelta(days=400)).not_valid_after(now + dt.timedelta(days=days))

    def sign(self, name: str, days: int = 30) -> Path:
        """Return a file with a certificate and its key; with less than 0 `days` it has expired."""
        key = new_key()
        subject = x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "A, B"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
        )
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        built = self._builder(subject, key, days).add_extension(usage, critical=False)
        file = self._directory / f"{name}.pem"
        file.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM) + key_pem(key))
        return file

    def revoke(self, certificate: Path, file: Path) -> None:
        """Write the list of what this authority has revoked: one certificate."""
        now = dt.datetime.now(dt.UTC).replace(tzinfo=None)  # as the builder of lists compares them
        revoked = x509.RevokedCertificateBuilder().serial_number(
            x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
        )
        built = x509.CertificateRevocationListBuilder(issuer_name=self._name, last_update=now - dt.timedelta(days=1))
        built = built.next_update(now + dt.timedelta(days=30)).add_revoked_certificate(
            revoked.revocation_date(now - dt.timedelta(hours=1)).build()
        )
        built = built.add_extension(x509.CRLNumber(1), critical=False)  # without one it is of version 1
        file.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
