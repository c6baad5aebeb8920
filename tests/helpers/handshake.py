"""TLS handshakes as a client makes them, with what it sees of them; and certificates for tests."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509

from buchner.certificates.authority import Authority
from buchner.certificates.storage import Storage

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Facts:
    """What a client sees of a handshake.

    Args:
        version: of the protocol; where there is none, why the handshake failed.
        cipher: the suite.
        names: what the certificate is for.
        reused: a session was resumed.
        response: the first response, if one was asked for.
    """

    version: str
    cipher: str = ""
    names: tuple[str, ...] = ()
    reused: bool = False
    response: bytes = b""


class Client:
    """A client with its own terms, which trusts everybody.

    Args:
        least, most: versions of the protocol.
        ciphers: OpenSSL's names of suites of TLS 1.2.
        curve: the only group it offers.
    """

    def __init__(
        self,
        version: ssl.TLSVersion | None = None,
        ciphers: str = "",
        curve: str = "",
    ) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        if version is not None:
            self.context.minimum_version = self.context.maximum_version = version
        if ciphers:
            self.context.set_ciphers(ciphers)
        if curve:
            self.context.set_ecdh_curve(curve)
        self.session: ssl.SSLSession | None = None
        """Offered by the next handshake, and set by each."""

    def shake(
        self, port: int, name: str | None = None, *, at: str = "127.0.0.1", send: bytes = b"", before: bytes = b""
    ) -> Facts:
        """Do a handshake.

        Args:
            port: the server's.
            name: asked for in the ClientHello.
            at: the server's address.
            send: a request, after which the server closes the connection.
            before: what is sent in clear text first.

        """
        with socket.create_connection((at, port), 20) as plain:
            plain.sendall(before)
            try:
                stream = self.context.wrap_socket(plain, server_hostname=name, session=self.session)
            except (ssl.SSLError, ConnectionError) as error:
                return Facts(getattr(error, "reason", None) or type(error).__name__)
            with stream:
                response = b""
                if send:
                    stream.sendall(send)
                    response = b"".join(iter(lambda: stream.recv(1 << 16), b""))
                self.session = stream.session
                return Facts(
                    stream.version() or "",
                    (stream.cipher() or ("",))[0],
                    _names(stream.getpeercert(binary_form=True)),
                    bool(stream.session_reused),
                    response.partition(b"\r\n\r\n")[2] if response.startswith(b"HTTP/1.1 200 ") else response[9:12],
                )


def _names(certificate: bytes | None) -> tuple[str, ...]:
    if not certificate:
        return ()
    found = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return tuple(found.value.get_values_for_type(x509.DNSName))


def write_pair(directory: Path, name: str, *names: str) -> None:
    """Write `NAME.pem` and `NAME.key`, a certificate for some names and its key."""
    pair = Authority(Storage(directory / "authority")).sign([*names])
    (directory / f"{name}.pem").write_bytes(pair.chain_pem)
    (directory / f"{name}.key").write_bytes(pair.key_pem)
    (directory / f"{name}.key").chmod(0o600)
