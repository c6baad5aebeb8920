"""ngx_http_ssl_module: how connections are encrypted, and with which certificates."""

from __future__ import annotations

import mmap
import re
from typing import TYPE_CHECKING

from buchner.nginx import openssl, units
from buchner.nginx.rows import (
    FLAG,
    HTTP_SERVER,
    NUMBER,
    SECONDS,
    SIZE,
    WORD,
    WORDS,
    keep,
    no_effect,
    one_of,
    refused,
    supported,
    words,
)

if TYPE_CHECKING:
    from buchner.nginx.lexer import Token
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_ssl_module"
_VERSIONS = ("SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_ELSEWHERE = re.compile(r"(data|engine|store):")
_BUILTIN = 20480
_SESSIONS_OF_A_MEGABYTE = 4000
_LEAST_PAGES = 8
_NO_OCSP = "no authority is asked about clients' certificates: `ssl_crl` has what it has revoked"
_UNSTAPLED = "no OCSP response is sent: clients that want one ask the authority themselves"


def keep_files(scope: Scope, directive: Directive) -> None:
    """Add a name of a file to those of the block."""
    token = directive.args[0]
    found = _ELSEWHERE.match(token.text)
    if "$" in token.text:
        scope.refuse(token, f"{directive.name} {token.text}", "files are read at the start, not for each handshake")
    elif found:
        scope.refuse(token, f"{directive.name} {found[0]}…", "certificates and keys are in files")
    if found or "$" in token.text:
        scope.state.refused_files.add(token.text)
    scope.values.setdefault(directive.name, []).append(token)
    scope.tokens.setdefault(directive.name, token)


def keep_file(scope: Scope, directive: Directive) -> None:
    """Keep the name of a file with its place."""
    scope.values[directive.name] = directive.args[0]
    scope.tokens[directive.name] = directive.args[0]


def keep_word(scope: Scope, directive: Directive) -> None:
    """Keep a word with its place."""
    scope.values[directive.name] = directive.words[0]
    scope.tokens[directive.name] = directive.args[0]


def protocols(scope: Scope, directive: Directive) -> None:
    """Keep the versions of a list, as OpenSSL spells them."""
    known = {version.lower(): version for version in _VERSIONS}
    found = []
    for arg in directive.args:
        version = known.get(arg.text.lower())
        if version is None:
            scope.error(arg, f'"{arg.text}" is not a version: {", ".join(_VERSIONS)} are')
        else:
            found.append(version)
    scope.values[directive.name] = found
    scope.tokens[directive.name] = directive.args[0]


def _timeout(scope: Scope, directive: Directive) -> None:
    scope.values[directive.name] = directive.values[0] / 1000
    scope.tokens[directive.name] = directive.args[0]


def _session_cache(scope: Scope, directive: Directive) -> None:
    found: dict[str, int] = {}
    for arg in directive.args:
        kind, _, rest = arg.text.partition(":")
        try:
            found[kind] = _sessions(kind, rest)
        except ValueError as error:
            scope.error(arg, str(error))
    scope.values[directive.name] = found.get("shared", found.get("builtin", 0))
    scope.tokens[directive.name] = directive.args[0]


def _sessions(kind: str, rest: str) -> int:
    """Return how many sessions a cache has: of a megabyte shared nginx says that 4,000 fit in."""
    if kind in ("off", "none") and not rest:
        return 0
    if kind == "builtin":
        return units.number(rest) if rest else _BUILTIN
    name, colon, size = rest.partition(":")
    if kind != "shared" or not name or not colon:
        raise ValueError(f'"{kind}:{rest}" is no cache: off, none, builtin:sessions and shared:name:size are')
    if units.size(size) < _LEAST_PAGES * mmap.PAGESIZE:
        raise ValueError(f'the cache "{name}" is too small: {_LEAST_PAGES * mmap.PAGESIZE // 1024}k is the least')
    return units.size(size) * _SESSIONS_OF_A_MEGABYTE >> 20


def command(scope: Scope, directive: Directive) -> None:
    """Take the commands of SSL_CONF_cmd(3) that there is something for."""
    word, value = directive.args
    found: dict[str, str] = scope.values.setdefault(directive.name, {})
    scope.tokens.setdefault(directive.name, word)
    name = word.text.lower()
    if name == "ciphersuites":
        found[name] = _suites(scope, directive.name, value)
    elif name == "minprotocol" and value.text in _VERSIONS:
        found[name] = value.text
    elif name == "options":
        for option in value.text.split(","):
            if option.lower() in ("serverpreference", "cipherserverpreference"):
                found["serverpreference"] = "on"
            elif option.lower() in ("ktls", "prioritizechacha", "norenegotiation", "-compression"):
                scope.warn(value, f'"{option}" has no effect')
            else:
                scope.refuse(value, f"{directive.name} Options {option}", "there is no such option here")
    else:
        known = "Ciphersuites, MinProtocol and Options are taken"
        scope.refuse(word, f"{directive.name} {word.text} {value.text}", known)


def _suites(scope: Scope, directive: str, value: Token) -> str:
    suites = value.text.split(":")
    known = [name for name in suites if name in openssl.TLS13]
    if not known:
        scope.refuse(value, f"{directive} Ciphersuites {value.text}", f"{', '.join(openssl.TLS13)} are known")
    elif known != suites:
        left_out = ", ".join(name for name in suites if name not in known)
        scope.warn(value, f"not available here, and left out: {left_out}")
    return ":".join(known)


DIRECTIVES = [
    *refused("ssl", HTTP_SERVER, "nginx took it out in 1.25.1: write `listen … ssl`"),
    supported("ssl_certificate", HTTP_SERVER, WORD, keep_files, "tls.certificate", repeat=True),
    supported("ssl_certificate_key", HTTP_SERVER, WORD, keep_files, "tls.key", repeat=True),
    supported("ssl_password_file", HTTP_SERVER, WORD, keep_file, "tls.password_file"),
    supported("ssl_protocols", HTTP_SERVER, WORDS, protocols, "tls.protocols; those before TLSv1.2 are left out"),
    supported("ssl_ciphers", HTTP_SERVER, WORD, keep_word, "tls.ciphers; those with ECDHE and an AEAD are taken"),
    supported("ssl_prefer_server_ciphers", HTTP_SERVER, FLAG, keep, "tls.prefer_server_ciphers"),
    supported("ssl_ecdh_curve", HTTP_SERVER, WORD, keep_word, "tls.curves"),
    supported("ssl_reject_handshake", HTTP_SERVER, FLAG, keep, "tls.reject_handshake"),
    supported("ssl_session_timeout", HTTP_SERVER, SECONDS, _timeout, "tls.session_timeout"),
    supported("ssl_session_cache", HTTP_SERVER, WORDS, _session_cache, "tls.session_cache; a number of sessions"),
    supported("ssl_session_tickets", HTTP_SERVER, FLAG, keep, "tls.session_tickets"),
    supported("ssl_session_ticket_key", HTTP_SERVER, WORD, keep_files, "tls.ticket_keys", repeat=True),
    supported(
        "ssl_conf_command",
        HTTP_SERVER,
        words(2),
        command,
        "Ciphersuites, MinProtocol and Options ServerPreference: tls.ciphers, tls.protocols, tls.prefer_server_ciphers",
        repeat=True,
    ),
    supported(
        "ssl_verify_client",
        HTTP_SERVER,
        one_of("off", "on", "optional", "optional_no_ca"),
        keep,
        "tls.verify_client",
    ),
    supported("ssl_client_certificate", HTTP_SERVER, WORD, keep_file, "tls.client_ca"),
    supported("ssl_crl", HTTP_SERVER, WORD, keep_file, "tls.client_crl"),
    *no_effect("ssl_ocsp ssl_ocsp_cache ssl_ocsp_responder", HTTP_SERVER, WORD, _NO_OCSP),
    *no_effect("ssl_verify_depth", HTTP_SERVER, NUMBER, "chains of up to six certificates are followed"),
    *no_effect("ssl_stapling ssl_stapling_verify", HTTP_SERVER, FLAG, _UNSTAPLED),
    *no_effect("ssl_stapling_file ssl_stapling_responder ssl_trusted_certificate", HTTP_SERVER, WORD, _UNSTAPLED),
    *no_effect("ssl_early_data", HTTP_SERVER, FLAG, "data that comes before the handshake's end is asked for again"),
    *no_effect("ssl_dhparam", HTTP_SERVER, WORD, "keys are agreed on with elliptic curves, never with finite fields"),
    *no_effect("ssl_buffer_size", HTTP_SERVER, SIZE, "records are as large as what there is to send, up to 16k"),
    *no_effect("ssl_key_log", HTTP_SERVER, WORD, "keys of connections are never written down"),
    *no_effect("ssl_certificate_cache", HTTP_SERVER, WORDS, "certificates are read at the start and after changes"),
    *no_effect("ssl_certificate_compression", HTTP_SERVER, FLAG, "certificates are sent as they are"),
    *refused("ssl_ech_file", HTTP_SERVER, "Encrypted Client Hello is not supported"),
]
