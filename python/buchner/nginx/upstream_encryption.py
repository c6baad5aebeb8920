"""The terms of TLS towards upstreams, from the ``proxy_ssl_*`` directives that hold for a location."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.nginx.encryption import ciphers, file_of, holder_of, once, protocols

if TYPE_CHECKING:
    from buchner.nginx.lexer import Token
    from buchner.nginx.scope import Scope

_UNVERIFIED = ("", -1)
"""Where it is noted that certificates are not verified."""


def encrypt(scope: Scope, token: Token, prefix: str = "proxy_") -> None:
    """Give a block its terms.

    Args:
        scope: the block, in which a URL leads to TLS.
        token: the URL.
        prefix: what the directives begin with, before `ssl_`.

    """
    verify: bool = scope.value(f"{prefix}ssl_verify", False)
    terms = gen.UpstreamTls(verify=verify, server_name=scope.value(f"{prefix}ssl_server_name", False))
    scope.table.upstream_tls = terms
    place = (*scope.path, "upstream_tls")
    scope.state.places[place] = token
    _authorities(scope, terms, prefix, verify=verify)
    if not verify and _UNVERIFIED not in scope.state.told:
        scope.state.told.add(_UNVERIFIED)
        why = f"as by nginx without `{prefix}ssl_verify on`"
        scope.warn(token, f"certificates of upstreams are not verified, {why}: who is on the way can answer for them")
    name: str = scope.value(f"{prefix}ssl_name", "")
    if name:
        terms.name = name
        scope.state.places[(*place, "name")] = holder_of(scope, f"{prefix}ssl_name")
    versions = protocols(scope, prefix)
    if versions is not None:
        terms.protocols = versions
    suites = ciphers(scope, versions, prefix)
    if suites is not None:
        terms.ciphers = suites
    terms.session_reuse = scope.value(f"{prefix}ssl_session_reuse", UNSET)
    _own(scope, terms, prefix)


def _authorities(scope: Scope, terms: gen.UpstreamTls, prefix: str, *, verify: bool) -> None:
    trusted: Token | None = scope.value(f"{prefix}ssl_trusted_certificate")
    revoked: Token | None = scope.value(f"{prefix}ssl_crl")
    place = (*scope.path, "upstream_tls")
    if verify and (trusted is None or not trusted.text):
        message = f'no "{prefix}ssl_trusted_certificate" says which authorities "{prefix}ssl_verify" trusts'
        once(scope, holder_of(scope, f"{prefix}ssl_verify"), message, fatal=True)
    if trusted is not None and trusted.text:
        terms.ca = file_of(scope, trusted)
        scope.state.places[(*place, "ca")] = trusted
    if revoked is not None and revoked.text:
        terms.crl = file_of(scope, revoked)
        scope.state.places[(*place, "crl")] = revoked


def _own(scope: Scope, terms: gen.UpstreamTls, prefix: str) -> None:
    """Set the certificate that is shown to servers."""
    chain: Token | None = _last(scope, f"{prefix}ssl_certificate")
    key: Token | None = _last(scope, f"{prefix}ssl_certificate_key")
    if chain is None or not chain.text or chain.text in scope.state.refused_files:
        return
    place = (*scope.path, "upstream_tls")
    if key is None:
        message = f'no "{prefix}ssl_certificate_key" is defined for the certificate "{chain.text}"'
        once(scope, chain, message, fatal=True)
        return
    if key.text in scope.state.refused_files:
        return
    terms.certificate, terms.key = file_of(scope, chain), file_of(scope, key)
    scope.state.places |= {(*place, "certificate"): chain, (*place, "key"): key}
    password: Token | None = scope.value(f"{prefix}ssl_password_file")
    if password is not None:
        terms.password_file = file_of(scope, password)
        scope.state.places[(*place, "password_file")] = password


def _last(scope: Scope, directive: str) -> Token | None:
    tokens: list[Token] = scope.value(directive, [])
    return tokens[-1] if tokens else None
