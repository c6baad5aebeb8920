"""Names that certificates are for: DNS names, wildcards, IP addresses."""

from __future__ import annotations

import ipaddress
import re

from buchner.errors import ConfigError

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_LONGEST = 253
_SPECIAL = {"localhost", "local", "localdomain", "internal", "test", "example", "invalid", "lan", "home", "onion"}
"""Top labels that no public authority issues for (RFC 6761, RFC 6762, RFC 9476 and habit)."""


def normalise(name: str) -> str:
    """Return a name as certificates have it: lower case, A-labels, without the dot at its end.

    Args:
        name: A DNS name, `*.` before one, or an IP address, also in brackets.

    Raises:
        ConfigError: It is none of these.
    """
    if address := as_address(name):
        return address
    text = name.strip().rstrip(".").lower()
    wildcard, rest = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    if not rest.isascii():
        rest = _ascii(rest)
    if "*" in rest:
        raise ConfigError(f'"{name}" is not a name a certificate can have: a wildcard is the whole first label, *.name')
    if not rest or len(rest) > _LONGEST or not all(_LABEL.fullmatch(label) for label in rest.split(".")):
        raise ConfigError(f'"{name}" is not a name a certificate can have')
    return wildcard + rest


def _ascii(name: str) -> str:
    import idna

    try:
        return idna.encode(name, uts46=True).decode()
    except idna.IDNAError as error:
        raise ConfigError(f'"{name}" is not an international domain name: {error}') from error


def as_address(name: str) -> str:
    """Return an IP address in its shortest form, or an empty text if the name is none."""
    try:
        return str(ipaddress.ip_address(name.strip().removeprefix("[").removesuffix("]")))
    except ValueError:
        return ""


def covers(pattern: str, name: str) -> bool:
    """Whether a name of a certificate covers a name; a wildcard covers one label (RFC 9525 section 6.3).

    Args:
        pattern: A normalised name of the certificate.
        name: A normalised name, which may be a wildcard itself.
    """
    if pattern == name:
        return True
    if not pattern.startswith("*.") or name.startswith("*.") or as_address(name):
        return False
    first, dot, rest = name.partition(".")
    return bool(first and dot) and rest == pattern[2:]


def why_not_public(name: str) -> str:
    """Why no public authority issues for a normalised name; an empty text if one may."""
    if address := as_address(name):
        if ipaddress.ip_address(address).is_global:
            return ""
        return f"{address} is a private address"
    base = name.removeprefix("*.")
    top = base.rpartition(".")[2]
    if top in _SPECIAL:
        return f"names that end in .{top} are not public" if base != top else f"{base} is not a public name"
    return "" if "." in base else f"{base} has no domain"


def alpn_name(name: str) -> str:
    """Return the server name by which an authority asks for a TLS-ALPN-01 challenge (RFC 8738 section 6)."""
    address = as_address(name)
    return ipaddress.ip_address(address).reverse_pointer if address else name
