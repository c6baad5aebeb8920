"""Certificates and keys in PEM files: read, checked, and in the order that TLS sends them.

Every fault has a message of its own, with the file and what to do. Key material is never part of a message.
"""

from __future__ import annotations

import base64
import binascii
import re
import ssl
import stat
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from buchner.certificates.names import as_address, covers, normalise
from buchner.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----[ \t]*\r?\n")
_CERTIFICATES = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")
_KEYS = ("PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY")
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_RSA_BITS = (2048, 8192)
_LARGEST = 1 << 20
"""Bytes of a file; a certificate with its chain has less than 20,000."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain, and the key that belongs to it.

    Args:
        chain: DER, the certificate first, then its issuers.
        key: DER (PKCS #8), not encrypted.
        names: What the certificate is for: DNS names, which may begin with `*.`, and IP addresses.
        not_before: Unix time from which it is valid.
        not_after: Unix time until which it is valid.
        issuer: The name of who issued it.
        serial: Its serial number in hexadecimal digits.
        warnings: What is odd but works.
    """

    chain: tuple[bytes, ...]
    key: bytes = field(repr=False)
    names: tuple[str, ...]
    not_before: float
    not_after: float
    issuer: str
    serial: str
    warnings: tuple[Problem, ...] = ()

    @property
    def chain_pem(self) -> bytes:
        """The certificates as PEM."""
        return "".join(ssl.DER_cert_to_PEM_cert(der) for der in self.chain).encode()

    @property
    def key_pem(self) -> bytes:
        """The key as PEM (PKCS #8), not encrypted."""
        text = base64.encodebytes(self.key).replace(b"\n", b"")
        lines = b"\n".join(text[start : start + 64] for start in range(0, len(text), 64))
        return b"-----BEGIN PRIVATE KEY-----\n" + lines + b"\n-----END PRIVATE KEY-----\n"

    @property
    def life(self) -> float:
        """Seconds from its first to its last."""
        return self.not_after - self.not_before

    def covers(self, name: str) -> bool:
        """Whether it is for a normalised name."""
        return any(covers(own, name) for own in self.names)

    def leaf(self) -> x509.Certificate:
        """The certificate itself."""
        return x509.load_der_x509_certificate(self.chain[0])


@dataclass(frozen=True, slots=True)
class _Block:
    label: str
    pem: bytes
    line: int

    @property
    def encrypted(self) -> bool:
        return self.label == "ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in self.pem


def load_pair(
    cert_path: str | Path,
    key_path: str | Path,
    passwords: Sequence[bytes] = (),
    names: Iterable[str] = (),
    *,
    now: float | None = None,
) -> Pair:
    """Read a certificate and its key, which may be in one file.

    Args:
        cert_path: File with the certificate, then its chain (nginx: ssl_certificate).
        key_path: File with the key in PKCS #8, PKCS #1 or SEC 1 (nginx: ssl_certificate_key).
        passwords: Tried in turn if the key is encrypted; see `read_passwords`.
        names: Names it is to cover; a warning for each that it does not.
        now: Unix time for comparing validity; None: the clock's.

    Raises:
        ConfigError: It cannot be used; the problems name the file and what to do.
    """
    problems: list[Problem] = []
    texts = []
    for path in (cert_path, key_path):
        try:
            texts.append(_read(Path(path)))
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise ConfigError(problems)
    pair = parse_pair(
        texts[0], texts[1], passwords, names, cert_file=str(cert_path), key_file=str(key_path), now=now
    )  # fmt: skip
    if Path(key_path).stat().st_mode & stat.S_IROTH:
        warning = Problem("the key can be read by every user of this machine: chmod 600", file=str(key_path))
        return _with_warnings(pair, [warning])
    return pair


def parse_pair(
    certificate: bytes,
    key: bytes,
    passwords: Sequence[bytes] = (),
    names: Iterable[str] = (),
    *,
    cert_file: str = "certificate",
    key_file: str = "key",
    now: float | None = None,
) -> Pair:
    """Check a certificate and its key, given as PEM.

    Args:
        certificate: The certificate, then its chain.
        key: Its key.
        passwords: As for `load_pair`.
        names: As for `load_pair`.
        cert_file: What messages call the certificate.
        key_file: What messages call the key.
        now: As for `load_pair`.

    Raises:
        ConfigError: It cannot be used.
    """
    problems: list[Problem] = []
    chain: list[x509.Certificate] = []
    private: PrivateKeyTypes | None = None
    try:
        chain = _certificates(certificate, cert_file)
    except ConfigError as error:
        problems += error.problems
    try:
        private = _key(key, passwords, key_file)
    except ConfigError as error:
        problems += error.problems
    if private is not None and (fault := _unusable(private)):
        problems.append(Problem(fault, file=key_file))
    if chain and private is not None and (fault := _mismatch(chain, private, key_file)):
        problems.append(Problem(fault, file=cert_file))
    if problems or private is None:
        raise ConfigError(problems)
    return _checked(chain, private, names, cert_file, time.time() if now is None else now)


def read_passwords(path: str | Path) -> list[bytes]:
    """Read a file with a password a line (nginx: ssl_password_file).

    Raises:
        ConfigError: It cannot be read.
    """
    lines = _read(Path(path)).splitlines()
    return [line for line in lines if line]


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigError([Problem(f"cannot be read: {error.strerror}", file=str(path))]) from error
    if len(data) > _LARGEST:
        raise ConfigError([Problem("is larger than 1 MiB: not a certificate, a key or passwords", file=str(path))])
    return data


def _blocks(data: bytes, file: str) -> list[_Block]:
    """Split PEM into its blocks; text between them is a comment (RFC 7468 section 5.2)."""
    found = []
    for match in _BEGIN.finditer(data):
        label, line = match[1].decode(), data.count(b"\n", 0, match.start()) + 1
        end = b"-----END " + match[1] + b"-----"
        stop = data.find(end, match.end())
        if stop < 0 or b"-----BEGIN " in data[match.end() : stop]:
            raise ConfigError(
                [Problem(f"the {label} that begins on line {line} has no end: is the file cut off?", file=file)]
            )
        found.append(_Block(label, data[match.start() : stop] + end + b"\n", line))
    return found


def _certificates(data: bytes, file: str) -> list[x509.Certificate]:
    blocks = _blocks(data, file)
    found = [block for block in blocks if block.label in _CERTIFICATES]
    if not found:
        raise ConfigError([Problem(_no_certificate(data, blocks), file=file)])
    chain, problems = [], []
    for number, block in enumerate(found, 1):
        try:
            certificate = x509.load_der_x509_certificate(_der(block))
            certificate.extensions  # noqa: B018 - parsed when asked for
            certificate.public_key()
        except (ValueError, UnsupportedAlgorithm) as error:
            problems.append(
                Problem(f"certificate {number} (line {block.line}) is damaged or unknown here: {error}", file=file)
            )
        else:
            chain.append(certificate)
    if problems:
        raise ConfigError(problems)
    return chain


def _der(block: _Block) -> bytes:
    """Decode a block; a TRUSTED CERTIFICATE has OpenSSL's own data after the certificate."""
    body = b"".join(block.pem.splitlines()[1:-1])
    try:
        der = base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64 ({error})") from error
    if block.label != "TRUSTED CERTIFICATE" or len(der) < 4 or der[1] != 0x82:  # noqa: PLR2004 - two bytes of length
        return der
    return der[: 4 + int.from_bytes(der[2:4])]


def _no_certificate(data: bytes, blocks: list[_Block]) -> str:
    labels = {block.label for block in blocks}
    if not data.strip():
        return "is empty"
    if labels & {"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"}:
        return "has a certificate request: send it to the authority, and use the certificate that comes back"
    if "PKCS7" in labels:
        return "has PKCS #7: openssl pkcs7 -print_certs -in FILE -out chain.pem makes PEM of it"
    if labels & set(_KEYS):
        return "has a key and no certificate: are the two files in the wrong order?"
    if labels:
        return f"has no certificate but {', '.join(sorted(labels))}"
    return _not_pem(data, "openssl x509 -inform der -in FILE -out certificate.pem")


def _not_pem(data: bytes, convert: str) -> str:
    if data[:1] == b"\x30":
        return f"is binary (DER or PKCS #12), not PEM: {convert}, or openssl pkcs12 -in FILE -nodes for PKCS #12"
    return "is not PEM: there is no line with -----BEGIN …-----"


def _key(data: bytes, passwords: Sequence[bytes], file: str) -> PrivateKeyTypes:
    blocks = _blocks(data, file)
    found = [block for block in blocks if block.label in _KEYS]
    if not found:
        raise ConfigError([Problem(_no_key(data, blocks), file=file)])
    block = found[0]
    if not block.encrypted:
        try:
            return serialization.load_pem_private_key(block.pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(
                [Problem(f"the key (line {block.line}) is damaged or unknown here", file=file)]
            ) from error
    if not passwords:
        raise ConfigError(
            [Problem("the key is encrypted: name a file with its password (nginx: ssl_password_file)", file=file)]
        )
    for password in passwords:
        try:
            return serialization.load_pem_private_key(block.pem, password)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
    many = "none of the passwords opens it" if len(passwords) > 1 else "the password does not open it"
    raise ConfigError([Problem(f"the key is encrypted, and {many}", file=file)])


def _no_key(data: bytes, blocks: list[_Block]) -> str:
    labels = {block.label for block in blocks}
    if not data.strip():
        return "is empty"
    if labels & {"DSA PRIVATE KEY", "OPENSSH PRIVATE KEY"}:
        return f"has a {min(labels)}, which is not for TLS: use an ECDSA, Ed25519 or RSA key"
    if "PUBLIC KEY" in labels:
        return "has the public key only; the private one is needed"
    if labels & set(_CERTIFICATES):
        return "has a certificate and no key: are the two files in the wrong order?"
    if labels:
        return f"has no key but {', '.join(sorted(labels))}"
    return _not_pem(data, "openssl pkey -inform der -in FILE -out key.pem")


def _unusable(key: PrivateKeyTypes) -> str:
    """Why TLS here has no use for a key; an empty text if it has."""
    if isinstance(key, rsa.RSAPrivateKey):
        least, most = _RSA_BITS
        if not least <= key.key_size <= most:
            return f"an RSA key of {key.key_size} bits: it has to have {least} to {most}"
        return ""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if key.curve.name not in _CURVES:
            return f"an ECDSA key on the curve {key.curve.name}: it has to be P-256, P-384 or P-521"
        return ""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return ""
    return f"a {type(key).__name__.removesuffix('PrivateKey').strip('_')} key is not for TLS: use ECDSA, Ed25519 or RSA"


def _spki(key: PrivateKeyTypes | x509.Certificate) -> bytes:
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(encoding, form)


def _mismatch(chain: list[x509.Certificate], key: PrivateKeyTypes, key_file: str) -> str:
    own = _spki(key)
    if _spki(chain[0]) == own:
        return ""
    for number, other in enumerate(chain[1:], 2):
        if _spki(other) == own:
            return (
                f"the key in {key_file} belongs to certificate {number} of this file ({_title(other)}), "
                "which has to be the first one, before the chain"
            )
    return f"the key in {key_file} does not belong to this certificate ({_title(chain[0])})"


def _checked(
    chain: list[x509.Certificate], key: PrivateKeyTypes, names: Iterable[str], file: str, now: float
) -> Pair:  # fmt: skip
    leaf = chain[0]
    ordered, warnings = _in_order(chain)
    covered = _names(leaf)
    first, last = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    if now > last:
        warnings.append(f"expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: renew it")
    elif now < first:
        warnings.append(
            f"is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: is this machine's clock right?"
        )
    warnings += [
        f"does not cover {name}, only {', '.join(covered) or 'no name'}: browsers will refuse it"
        for name in (normalise(name) for name in names)
        if not any(covers(own, name) for own in covered)
    ]
    if len(ordered) == 1 and leaf.issuer != leaf.subject and _has_issuer_url(leaf):
        warnings.append("the certificate of its issuer is missing: add the chain, or some clients will refuse it")
    return Pair(
        chain=tuple(one.public_bytes(serialization.Encoding.DER) for one in ordered),
        key=key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        names=tuple(covered),
        not_before=first,
        not_after=last,
        issuer=_name(leaf.issuer),
        serial=f"{leaf.serial_number:x}",
        warnings=tuple(Problem(warning, file=file) for warning in warnings),
    )


def _in_order(chain: list[x509.Certificate]) -> tuple[list[x509.Certificate], list[str]]:
    """Put each issuer after what it issued; what belongs to nobody in the file comes last."""
    ordered, rest = [chain[0]], list(chain[1:])
    while follower := next((one for one in rest if one.subject == ordered[-1].issuer), None):
        ordered.append(follower)
        rest.remove(follower)
    strangers = [one for one in rest if not any(other.issuer == one.subject for other in chain if other is not one)]
    warnings = [f"{_title(one)} has issued none of the other certificates: take it out" for one in strangers]
    if ordered + rest != chain and not strangers:
        warnings.append("the chain is not in order (each certificate is followed by its issuer); it is sent in order")
    return ordered + rest, warnings


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    found = [name.lower().rstrip(".") for name in names.get_values_for_type(x509.DNSName)]
    return found + [as_address(str(address)) for address in names.get_values_for_type(x509.IPAddress)]


def _has_issuer_url(certificate: x509.Certificate) -> bool:
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return False
    return any(one.access_method == x509.oid.AuthorityInformationAccessOID.CA_ISSUERS for one in access)


def _name(name: x509.Name) -> str:
    for oid in (x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME):
        if found := name.get_attributes_for_oid(oid):
            value = found[0].value
            return value if isinstance(value, str) else value.decode(errors="replace")
    return name.rfc4514_string()


def _title(certificate: x509.Certificate) -> str:
    names = _names(certificate)
    return names[0] if names else _name(certificate.subject) or f"serial {certificate.serial_number:x}"


def _with_warnings(pair: Pair, more: list[Problem]) -> Pair:
    return replace(pair, warnings=(*pair.warnings, *more))
