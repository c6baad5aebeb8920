"""The directives of TLS towards upstreams, which each module that passes requests on has under its own prefix."""

from __future__ import annotations

from buchner.nginx.directives.tls import command, keep_file, keep_files, keep_word, protocols
from buchner.nginx.rows import FLAG, HTTP_SERVER_LOCATION, NUMBER, WORD, WORDS, Row, keep, no_effect, supported, words

_ALL = HTTP_SERVER_LOCATION
_DEPTH = "chains of up to six certificates between a server's and its CA's are followed (webpki)"
_COMMANDS = "Ciphersuites and MinProtocol: upstream_tls.ciphers, upstream_tls.protocols"


def rows(prefix: str) -> list[Row]:
    """Return the rows of a module.

    Args:
        prefix: what its directives begin with, such as `proxy_`.

    """
    of = f"{prefix}ssl_"
    return [
        supported(f"{of}verify", _ALL, FLAG, keep, "upstream_tls.verify; off by default"),
        supported(f"{of}trusted_certificate", _ALL, WORD, keep_file, "upstream_tls.ca"),
        supported(f"{of}crl", _ALL, WORD, keep_file, "upstream_tls.crl"),
        supported(f"{of}name", _ALL, WORD, keep_word, "upstream_tls.name"),
        supported(f"{of}server_name", _ALL, FLAG, keep, "upstream_tls.server_name; off by default"),
        supported(f"{of}certificate", _ALL, WORD, keep_files, "upstream_tls.certificate"),
        supported(f"{of}certificate_key", _ALL, WORD, keep_files, "upstream_tls.key"),
        supported(f"{of}password_file", _ALL, WORD, keep_file, "upstream_tls.password_file"),
        supported(
            f"{of}protocols", _ALL, WORDS, protocols, "upstream_tls.protocols; those before TLSv1.2 are left out"
        ),
        supported(f"{of}ciphers", _ALL, WORD, keep_word, "upstream_tls.ciphers"),
        supported(f"{of}session_reuse", _ALL, FLAG, keep, "upstream_tls.session_reuse"),
        supported(f"{of}conf_command", _ALL, words(2), command, _COMMANDS, repeat=True),
        *no_effect(f"{of}verify_depth", _ALL, NUMBER, _DEPTH),
        *no_effect(f"{of}certificate_cache", _ALL, WORDS, "certificates are read at the start and after changes"),
        *no_effect(f"{of}key_log", _ALL, WORD, "keys of connections are never written down"),
    ]
