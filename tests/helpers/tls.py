"""TLS for tests: an authority with faults to order, and servers that speak it."""

from __future__ import annotations

import datetime as dt
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from buchner.certificates.authority import Authority
from buchner.certificates.storage import Storage
from helpers.upstream import Script, Upstream

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from buchner.certificates.pem import Pair

DAY = 86400
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class TestAuthority:
    """Writes certificates of servers and lists of revoked ones.

    Args:
        directory: where its files are written.
        name: what its own are called.
    """

    __test__ = False

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._authority = Authority(Storage(directory / name))
        self.file = directory / f"{name}.pem"
        """Its own certificate."""
        self.file.write_bytes(self._authority.root_file.read_bytes())

    def write(self, file: str, *names: str, expired: bool = False) -> Path:
        """Return a file with a certificate for some names, and its key."""
        storage = Storage(self._directory / self.file.stem)
        authority = Authority(storage, time.time() - 200 * DAY) if expired else self._authority
        return self._written(file, authority.sign([*names]))

    def _written(self, file: str, pair: Pair) -> Path:
        path = self._directory / f"{file}.pem"
        path.write_bytes(pair.chain_pem + pair.key_pem)
        path.chmod(0o600)
        return path

    def revoke(self, file: str, *certificates: Path) -> Path:
        """Return a file with a list of revoked certificates, of which there may be none."""
        root = self._authority._root
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateRevocationListBuilder(root.leaf().subject, now, now + dt.timedelta(days=1))
        for certificate in certificates:
            serial = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            builder = builder.add_revoked_certificate(revoked)
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
        key = serialization.load_der_private_key(root.key, None)
        path = self._directory / f"{file}.pem"
        crl = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
        path.write_bytes(crl.public_bytes(serialization.Encoding.PEM))
        return path


def server_context(
    certificate: Path, *, version: ssl.TLSVersion | None = None, clients: Path | None = None
) -> ssl.SSLContext:
    """Return the terms of a server.

    Args:
        certificate: file with its certificate and key.
        version: the only one it speaks.
        clients: file with the certificate of who signs its clients', which are then demanded.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context


@dataclass(frozen=True)
class Shaken:
    """What a server knows of a handshake.

    Args:
        name: that the client asked for.
        version: of the protocol.
        reused: a session was resumed.
        client: the common name of the client's certificate.
    """

    name: str | None
    version: str | None
    reused: bool
    client: str | None


class SecureUpstream(Upstream):
    """An upstream that speaks TLS.

    `handshakes` are those that succeeded; `failures` say why others did not.
    """

    def __init__(self, script: Script, context: ssl.SSLContext, host: str = "127.0.0.1") -> None:
        self.context = context
        self.handshakes: list[Shaken] = []
        self.failures: list[str] = []
        self._names: dict[ssl.SSLObject, str | None] = {}
        context.sni_callback = self._named
        super().__init__(script, host)

    def _named(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        del context
        self._names[connection] = name

    def _serve(self, connection: socket.socket) -> None:
        try:
            stream = self.context.wrap_socket(connection, server_side=True)
        except (ssl.SSLError, OSError) as error:
            self.failures.append(getattr(error, "reason", None) or type(error).__name__)
            connection.close()
            return
        certificate = stream.getpeercert() or {}
        subject: dict[str, str] = dict(pair for group in certificate.get("subject", ()) for pair in group)  # type: ignore[misc]
        name = self._names.get(stream)  # type: ignore[call-overload]
        client = subject.get("commonName")
        self.handshakes.append(Shaken(name, stream.version(), bool(stream.session_reused), client))
        super()._serve(stream)
