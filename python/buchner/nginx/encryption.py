"""The TLS policy of a server, from the ``ssl_*`` directives that hold for it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.config import addresses
from buchner.nginx import openssl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from buchner.nginx.lexer import Token
    from buchner.nginx.scope import Scope

    Protocols = list[Literal["TLSv1.2", "TLSv1.3"]]

_DEFAULT_CIPHERS = "HIGH:!aNULL:!MD5"


def encrypt(scope: Scope) -> None:
    """Give a server its policy, if one of its addresses has TLS and it has a certificate or refuses handshakes.

    A server with neither has the policy of the default server of the address, as with nginx.
    """
    if not scope.state.encrypted or not any(map(scope.state.encrypted.__contains__, _addresses(scope))):
        return
    certificates: list[Token] = scope.value("ssl_certificate", [])
    if not certificates and not scope.value("ssl_reject_handshake", False):
        return
    tls = gen.Tls()
    scope.table.tls = tls
    if scope.holder("http2") is None:
        scope.table.http2 = False  # gateway.toml would have it on
    scope.state.places[(*scope.path, "tls")] = (
        certificates[0] if certificates else _holder(scope, "ssl_reject_handshake")
    )
    if any(
        token.text in scope.state.refused_files for token in (*certificates, *scope.value("ssl_certificate_key", []))
    ):
        tls.reject_handshake = True  # there is nothing to read, and the file is not used anyway
        return
    _certificates(scope, tls, certificates)
    protocols = _protocols(scope)
    if protocols is not None:
        tls.protocols = protocols
    _ciphers(scope, tls, protocols)
    _curves(scope, tls)
    for name in ("reject_handshake", "session_timeout", "session_cache", "session_tickets"):
        setattr(tls, name, scope.value(f"ssl_{name}", UNSET))


def _addresses(scope: Scope) -> Iterator[str]:
    for text in scope.table.listen:
        with contextlib.suppress(ValueError):  # the resolver reports it
            yield addresses.listening(text).address


def _holder(scope: Scope, directive: str) -> Token:
    holder = scope.holder(directive)
    if holder is None:
        raise LookupError(directive)
    return holder.tokens[directive]


def _file(scope: Scope, token: Token) -> str:
    state = scope.state
    return token.text if state.base == state.prefix else str(state.base / token.text)


def _certificates(scope: Scope, tls: gen.Tls, certificates: list[Token]) -> None:
    keys: list[Token] = scope.value("ssl_certificate_key", [])
    place = (*scope.path, "tls")
    if certificates:
        if len(keys) < len(certificates):
            token = certificates[len(keys)]
            scope.error(token, f'no "ssl_certificate_key" is defined for the certificate "{token.text}"')
        keys = keys[: len(certificates)]
        tls.certificate = [_file(scope, token) for token in certificates]
        tls.key = [_file(scope, token) for token in keys]
        scope.state.places |= {(*place, "certificate", index): token for index, token in enumerate(certificates)}
    password: Token | None = scope.value("ssl_password_file")
    if password is not None:
        tls.password_file = _file(scope, password)
        scope.state.places[(*place, "password_file")] = password
    tickets: list[Token] = scope.value("ssl_session_ticket_key", [])
    if tickets:
        tls.ticket_keys = [_file(scope, token) for token in tickets]
        scope.state.places |= {(*place, "ticket_keys", index): token for index, token in enumerate(tickets)}


def _protocols(scope: Scope) -> Protocols | None:
    """Return the versions that may be spoken; None: those of the default."""
    wanted: list[str] | None = scope.value("ssl_protocols")
    least: str | None = scope.value("ssl_conf_command", {}).get("minprotocol")
    if wanted is None and least is None:
        return None
    both: Protocols = ["TLSv1.2", "TLSv1.3"]
    found = [version for version in both if wanted is None or version in wanted]
    if least is not None:
        found = [version for version in found if version >= least]
    gone = [version for version in wanted or () if version not in both]
    if not found:
        token = _holder(scope, "ssl_protocols" if wanted is not None else "ssl_conf_command")
        reason = "TLSv1.2 and TLSv1.3 are spoken here" if gone else "no version is left"
        _once(scope, token, f'"ssl_protocols {" ".join(wanted or ())}" is refused: {reason}', fatal=True)
    elif gone:
        them = "them" if len(gone) > 1 else "it"
        message = f"{', '.join(gone)} cannot be spoken here: clients that need {them} are turned away"
        _once(scope, _holder(scope, "ssl_protocols"), message)
    return found


def _ciphers(scope: Scope, tls: gen.Tls, protocols: Protocols | None) -> None:
    text: str | None = scope.value("ssl_ciphers")
    commands: dict[str, str] = scope.value("ssl_conf_command", {})
    prefer = commands.get("serverpreference") == "on" or scope.value("ssl_prefer_server_ciphers", False)
    if prefer:
        tls.prefer_server_ciphers = True
    suites = commands["ciphersuites"].split(":") if "ciphersuites" in commands else [*openssl.TLS13] if prefer else []
    if text is None and not prefer and not suites:
        return
    try:
        choice = openssl.ciphers(text or _DEFAULT_CIPHERS)
    except ValueError as error:
        _once(scope, _holder(scope, "ssl_ciphers"), str(error), fatal=True)
        return
    if text is not None:
        token = _holder(scope, "ssl_ciphers")
        if not choice.names and (protocols is None or "TLSv1.2" in protocols):
            reason = "none of it can be used here: suites with ECDHE and AES-GCM or ChaCha20 can"
            _once(scope, token, f'"ssl_ciphers {text}" is refused: {reason}', fatal=True)
        elif choice.missing:
            _once(scope, token, f"not available here, and left out: {', '.join(choice.missing)}")
    tls.ciphers = [*suites, *choice.names]


def _curves(scope: Scope, tls: gen.Tls) -> None:
    text: str = scope.value("ssl_ecdh_curve", "auto")
    if text == "auto":
        return
    token = _holder(scope, "ssl_ecdh_curve")
    try:
        choice = openssl.curves(text)
    except ValueError as error:
        _once(scope, token, str(error), fatal=True)
        return
    if not choice.names:
        _once(scope, token, f'"ssl_ecdh_curve {text}" is refused: none of it can be used here', fatal=True)
    elif choice.missing:
        _once(scope, token, f"not available here, and left out: {', '.join(choice.missing)}")
    tls.curves = choice.names


def _once(scope: Scope, token: Token, message: str, *, fatal: bool = False) -> None:
    """Note a problem of a directive that several servers may inherit."""
    place = (token.source.name, token.start)
    if place in scope.state.told:
        return
    scope.state.told.add(place)
    if fatal:
        scope.error(token, message)
    else:
        scope.warn(token, message)
