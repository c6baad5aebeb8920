"""A certificate authority of this machine alone, for development: its root is trusted by hand, once.

The root issues end entities only (path length 0). It is kept with the certificates, its key readable by this user only:
who can read that key can impersonate every site to browsers that trust the root.
"""

from __future__ import annotations

import getpass
import shlex
import socket
import time
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from buchner.certificates.making import DAY, builder, key_pem, new_key, subject_names
from buchner.certificates.names import normalise
from buchner.certificates.pem import Pair, parse_pair

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

    from buchner.certificates.storage import Storage

LOCALHOST = ("localhost", "127.0.0.1", "::1")
ROOT = "development-root"
_ROOT_DAYS = 3650
_LEAF_DAYS = 90
_RENEW = 2 / 3


class Authority:
    """The local authority of a storage, made at its first use.

    Args:
        storage: Where root and certificates are kept.
        now: Unix time; None: the clock's.
    """

    def __init__(self, storage: Storage, now: float | None = None) -> None:
        self._storage = storage
        self._now = time.time() if now is None else now
        with storage.lock(ROOT, wait=True):
            root = storage.read(ROOT)
            if root is None or root.not_after < self._now + _LEAF_DAYS * DAY:
                root = self._new_root()
                storage.write(ROOT, root)
        self._root = root

    @property
    def root_file(self) -> Path:
        """The root's certificate, PEM."""
        return self._storage.root / "live" / ROOT / "fullchain.pem"

    def _new_root(self) -> Pair:
        key = new_key()
        title = x509.Name(
            [
                x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Buchner development authority"),
                x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Buchner development, {_who()}"[:64]),
            ]
        )
        certificate = (
            builder(title, title, key, _ROOT_DAYS, self._now)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return parse_pair(certificate.public_bytes(serialization.Encoding.PEM), key_pem(key), now=self._now)

    def issue(self, names: Iterable[str] = ()) -> Pair:
        """Return the certificate for localhost and more names, issued anew if it is old or lacks one of them.

        Args:
            names: Further names, such as `shop.test` or `192.168.1.20`.
        """
        wanted = list(dict.fromkeys((*LOCALHOST, *map(normalise, names))))
        with self._storage.lock("localhost", wait=True):
            kept = self._storage.read("localhost")
            if kept is not None and self._is_good(kept, wanted):
                return kept
            pair = self.sign(wanted)
            self._storage.write("localhost", pair)
        return pair

    def _is_good(self, pair: Pair, wanted: list[str]) -> bool:
        root, leaf = self._root.leaf(), pair.leaf()
        try:
            leaf.verify_directly_issued_by(root)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it is not of this root
            return False
        return all(pair.covers(name) for name in wanted) and self._now < pair.not_before + pair.life * _RENEW

    def sign(self, names: list[str], days: float = _LEAF_DAYS) -> Pair:
        """Issue a certificate, which is not kept.

        Args:
            names: Normalised names.
            days: How long it is valid.
        """
        root, key = self._root.leaf(), new_key()
        signer: CertificateIssuerPrivateKeyTypes = serialization.load_der_private_key(self._root.key, None)  # type: ignore[assignment]
        title = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0][:64])])
        certificate = (
            builder(title, root.subject, key, days, self._now)
            .add_extension(subject_names(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_issuer_key(root), critical=False)
            .sign(signer, hashes.SHA256())
        )
        return parse_pair(certificate.public_bytes(serialization.Encoding.PEM), key_pem(key), now=self._now)

    def how_to_trust(self) -> str:
        """Say how browsers and programs come to trust the root."""
        file = shlex.quote(str(self.root_file))
        return f"""\
Browsers trust these certificates once they trust the root {self.root_file}:
  Debian, Ubuntu   sudo cp {file} /usr/local/share/ca-certificates/buchner.crt && sudo update-ca-certificates
  Fedora, RHEL     sudo trust anchor {file}
  macOS            sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {file}
  Chrome on Linux  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n buchner -i {file}
  Firefox          Settings, Certificates, View Certificates, Authorities, Import
  curl             curl --cacert {file} https://localhost:8443/
  Python           SSL_CERT_FILE={file}, or REQUESTS_CA_BUNDLE for requests
Keep {self._storage.root} to yourself: its keys vouch for any name to whoever trusts the root."""


def _issuer_key(root: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = "user"
    return f"{user}@{socket.gethostname()}"
