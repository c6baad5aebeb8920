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
        certificates[0] if certificates else holder_of(scope, "ssl_reject_handshake")
    )
    if any(
        token.text in scope.state.refused_files for token in (*certificates, *scope.value("ssl_certificate_key", []))
    ):
        tls.reject_handshake = True  # there is nothing to read, and the file is not used anyway
        return
    _certificates(scope, tls, certificates)
    versions = protocols(scope)
    if versions is not None:
        tls.protocols = versions
    prefer = _prefers(scope)
    if prefer:
        tls.prefer_server_ciphers = True
    found = ciphers(scope, versions, prefer=prefer)
    if found is not None:
        tls.ciphers = found
    _curves(scope, tls)
    _clients(scope, tls)
    for name in ("reject_handshake", "session_timeout", "session_cache", "session_tickets"):
        setattr(tls, name, scope.value(f"ssl_{name}", UNSET))


def _clients(scope: Scope, tls: gen.Tls) -> None:
    """Say what becomes of clients' certificates."""
    wanted: Literal["off", "on", "optional", "optional_no_ca"] = scope.value("ssl_verify_client", "off")
    if wanted == "off":
        return
    tls.verify_client = wanted
    authority: Token | None = scope.value("ssl_client_certificate")
    if authority is not None:
        tls.client_ca = file_of(scope, authority)
        scope.state.places[(*scope.path, "tls", "client_ca")] = authority
    elif wanted != "optional_no_ca":
        token = holder_of(scope, "ssl_verify_client")
        scope.error(token, f'no "ssl_client_certificate" is defined for "ssl_verify_client {wanted}"')
    revoked: Token | None = scope.value("ssl_crl")
    if revoked is not None:
        tls.client_crl = file_of(scope, revoked)
        scope.state.places[(*scope.path, "tls", "client_crl")] = revoked


def _addresses(scope: Scope) -> Iterator[str]:
    for text in scope.table.listen:
        with contextlib.suppress(ValueError):  # the resolver reports it
            yield addresses.listening(text).address


def holder_of(scope: Scope, directive: str) -> Token:
    """Return where the value of a directive stands that holds in a block."""
    holder = scope.holder(directive)
    if holder is None:
        raise LookupError(directive)
    return holder.tokens[directive]


def file_of(scope: Scope, token: Token) -> str:
    """Return the file that a name stands for: one beside the main file."""
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
        tls.certificate = [file_of(scope, token) for token in certificates]
        tls.key = [file_of(scope, token) for token in keys]
        scope.state.places |= {(*place, "certificate", index): token for index, token in enumerate(certificates)}
    password: Token | None = scope.value("ssl_password_file")
    if password is not None:
        tls.password_file = file_of(scope, password)
        scope.state.places[(*place, "password_file")] = password
    tickets: list[Token] = scope.value("ssl_session_ticket_key", [])
    if tickets:
        tls.ticket_keys = [file_of(scope, token) for token in tickets]
        scope.state.places |= {(*place, "ticket_keys", index): token for index, token in enumerate(tickets)}


def protocols(scope: Scope, prefix: str = "") -> Protocols | None:
    """Return the versions that may be spoken; None: those of the default.

    Args:
        scope: the block.
        prefix: what the directives begin with, before `ssl_`.

    """
    listed, command = f"{prefix}ssl_protocols", f"{prefix}ssl_conf_command"
    wanted: list[str] | None = scope.value(listed)
    least: str | None = scope.value(command, {}).get("minprotocol")
    if wanted is None and least is None:
        return None
    both: Protocols = ["TLSv1.2", "TLSv1.3"]
    found = [version for version in both if wanted is None or version in wanted]
    if least is not None:
        found = [version for version in found if version >= least]
    gone = [version for version in wanted or () if version not in both]
    if not found:
        token = holder_of(scope, listed if wanted is not None else command)
        reason = "TLSv1.2 and TLSv1.3 are spoken here" if gone else "no version is left"
        once(scope, token, f'"{listed} {" ".join(wanted or ())}" is refused: {reason}', fatal=True)
    elif gone:
        them = "them" if len(gone) > 1 else "it"
        others = "servers that need" if prefix else "clients that need"
        left = "cannot be spoken to" if prefix else "are turned away"
        message = f"{', '.join(gone)} cannot be spoken here: {others} {them} {left}"
        once(scope, holder_of(scope, listed), message)
    return found


def _prefers(scope: Scope) -> bool:
    commands: dict[str, str] = scope.value("ssl_conf_command", {})
    return commands.get("serverpreference") == "on" or bool(scope.value("ssl_prefer_server_ciphers", False))


def ciphers(scope: Scope, versions: Protocols | None, prefix: str = "", *, prefer: bool = False) -> list[str] | None:
    """Return the cipher suites, best first; None: those of the default.

    Args:
        scope: the block.
        versions: of the protocol, that may be spoken.
        prefix: what the directives begin with, before `ssl_`.
        prefer: the order counts, also where none is written.

    """
    listed = f"{prefix}ssl_ciphers"
    text: str | None = scope.value(listed)
    commands: dict[str, str] = scope.value(f"{prefix}ssl_conf_command", {})
    suites = commands["ciphersuites"].split(":") if "ciphersuites" in commands else [*openssl.TLS13] if prefer else []
    if text is None and not prefer and not suites:
        return None
    try:
        choice = openssl.ciphers(text or _DEFAULT_CIPHERS)
    except ValueError as error:
        once(scope, holder_of(scope, listed), str(error), fatal=True)
        return None
    if text is not None:
        token = holder_of(scope, listed)
        if not choice.names and (versions is None or "TLSv1.2" in versions):
            reason = "none of it can be used here: suites with ECDHE and AES-GCM or ChaCha20 can"
            once(scope, token, f'"{listed} {text}" is refused: {reason}', fatal=True)
        elif choice.missing:
            once(scope, token, f"not available here, and left out: {', '.join(choice.missing)}")
    return [*suites, *choice.names]


def _curves(scope: Scope, tls: gen.Tls) -> None:
    text: str = scope.value("ssl_ecdh_curve", "auto")
    if text == "auto":
        return
    token = holder_of(scope, "ssl_ecdh_curve")
    try:
        choice = openssl.curves(text)
    except ValueError as error:
        once(scope, token, str(error), fatal=True)
        return
    if not choice.names:
        once(scope, token, f'"ssl_ecdh_curve {text}" is refused: none of it can be used here', fatal=True)
    elif choice.missing:
        once(scope, token, f"not available here, and left out: {', '.join(choice.missing)}")
    tls.curves = choice.names


def once(scope: Scope, token: Token, message: str, *, fatal: bool = False) -> None:
    """Note a problem of a directive that several servers may inherit."""
    place = (token.source.name, token.start)
    if place in scope.state.told:
        return
    scope.state.told.add(place)
    if fatal:
        scope.error(token, message)
    else:
        scope.warn(token, message)
