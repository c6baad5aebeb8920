"""ngx_http_proxy_module: HTTP upstreams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import upstreams
from buchner.nginx.rows import (
    BUFFERS,
    FILE_SIZE,
    FLAG,
    HTTP,
    HTTP_SERVER_LOCATION,
    NUMBER,
    SIZE,
    TIME,
    WORD,
    WORDS,
    Inherit,
    no_effect,
    one_of,
    put,
    put_time,
    refused,
    supported,
    words,
)

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_proxy_module"


def _proxy_pass(scope: Scope, directive: Directive) -> None:
    url = directive.words[0]
    try:
        target = upstreams.target(url)
    except ValueError as error:
        scope.error(directive.args[0], str(error))
        return
    if target.uri is not None and _pathless(scope):
        scope.error(
            directive.args[0],
            '"proxy_pass" cannot have a URI in a named location, one by regular expression, an "if" or '
            'a "limit_except": there is no path to replace',
        )
    scope.state.proxied.add(target.authority)
    scope.put("proxy", url, directive.args[0])


def _pathless(scope: Scope) -> bool:
    if scope.kind != "location":
        return True
    return scope.table.path.startswith("@") or scope.table.match in ("regex", "regex_nocase")


def _proxy_set_header(scope: Scope, directive: Directive) -> None:
    headers = {} if scope.table.set_headers is UNSET else scope.table.set_headers
    name, value = directive.words
    if name.lower() in (known.lower() for known in headers):
        scope.warn(directive.args[0], f'"{name}" is set twice; this one holds')
        headers = {known: text for known, text in headers.items() if known.lower() != name.lower()}
    scope.table.set_headers = {**headers, name: value}
    scope.state.places[(*scope.path, "set_headers", name)] = directive.args[1]


def _off(scope: Scope, directive: Directive) -> None:
    """Take ``off`` of a directive that is refused otherwise."""
    if directive.words != ["off"]:
        scope.refuse(directive.token, directive.name, _CACHE)


_ALL = HTTP_SERVER_LOCATION
_BUFFERS = "the gateway's buffers grow and shrink with the load"
_CACHE = "caching is not supported yet"
_NO_CACHE = "nothing is cached: `proxy_cache` is refused"
_TLS = "no upstream is spoken to in TLS: `proxy_pass https://…` is refused"
_LATER = "it is not supported yet"

DIRECTIVES = [
    supported(
        "proxy_pass",
        "location location_if limit_except",
        WORD,
        _proxy_pass,
        "route.proxy",
        inherit=Inherit.BLOCKS,
        sets=("proxy",),
    ),
    supported("proxy_set_header", _ALL, words(2), _proxy_set_header, "set_headers", repeat=True),
    supported("proxy_connect_timeout", _ALL, TIME, put_time("connect_timeout"), "connect_timeout; 60 s by default"),
    supported("proxy_send_timeout", _ALL, TIME, put_time("upstream_send_timeout"), "upstream_send_timeout"),
    supported("proxy_read_timeout", _ALL, TIME, put_time("read_timeout"), "read_timeout"),
    supported("proxy_buffering", _ALL, FLAG, put("buffering"), "buffering"),
    supported("proxy_request_buffering", _ALL, FLAG, put("request_buffering"), "request_buffering"),
    supported("proxy_intercept_errors", _ALL, FLAG, put("intercept_errors"), "intercept_errors"),
    *no_effect("proxy_http_version", _ALL, one_of("1.0", "1.1"), "upstreams are always spoken to in HTTP/1.1"),
    *no_effect("proxy_buffer_size proxy_busy_buffers_size proxy_temp_file_write_size", _ALL, SIZE, _BUFFERS),
    *no_effect("proxy_buffers", _ALL, BUFFERS, _BUFFERS),
    *no_effect("proxy_temp_path", _ALL, words(1, 4), "bodies spill into unlinked files of gateway.spool_dir"),
    *no_effect("proxy_headers_hash_max_size proxy_headers_hash_bucket_size", _ALL, NUMBER, "tables grow by themselves"),
    *no_effect("proxy_socket_keepalive", _ALL, FLAG, "idle connections to upstreams are checked before they are used"),
    *no_effect("proxy_socket_rcvbuf proxy_socket_sndbuf proxy_send_lowat", _ALL, SIZE, "left to the kernel"),
    supported("proxy_cache", _ALL, WORD, _off, "nothing; only `off` is accepted"),
    supported("proxy_store", _ALL, WORD, _off, "nothing; only `off` is accepted"),
    *no_effect(
        "proxy_cache_background_update proxy_cache_convert_head proxy_cache_lock proxy_cache_revalidate",
        _ALL,
        FLAG,
        _NO_CACHE,
    ),
    *no_effect(
        "proxy_cache_bypass proxy_no_cache proxy_cache_valid proxy_cache_purge", _ALL, WORDS, _NO_CACHE, repeat=True
    ),
    *no_effect("proxy_cache_use_stale proxy_cache_methods", _ALL, WORDS, _NO_CACHE),
    *no_effect("proxy_cache_key", _ALL, WORD, _NO_CACHE),
    *no_effect("proxy_cache_min_uses", _ALL, NUMBER, _NO_CACHE),
    *no_effect("proxy_cache_max_range_offset", _ALL, FILE_SIZE, _NO_CACHE),
    *no_effect("proxy_cache_lock_age proxy_cache_lock_timeout", _ALL, TIME, _NO_CACHE),
    *no_effect("proxy_store_access", _ALL, words(1, 3), "nothing is stored: `proxy_store` is refused"),
    *refused("proxy_cache_path", HTTP, _CACHE),
    *no_effect(
        "proxy_ssl_certificate proxy_ssl_certificate_key proxy_ssl_ciphers proxy_ssl_crl proxy_ssl_key_log "
        "proxy_ssl_name proxy_ssl_password_file proxy_ssl_trusted_certificate",
        _ALL,
        WORD,
        _TLS,
    ),
    *no_effect("proxy_ssl_protocols proxy_ssl_certificate_cache", _ALL, WORDS, _TLS),
    *no_effect("proxy_ssl_conf_command", _ALL, words(2), _TLS, repeat=True),
    *no_effect("proxy_ssl_server_name proxy_ssl_session_reuse proxy_ssl_verify", _ALL, FLAG, _TLS),
    *no_effect("proxy_ssl_verify_depth", _ALL, NUMBER, _TLS),
    *refused(
        "proxy_allow_upstream proxy_bind proxy_bind_dynamic proxy_cookie_domain proxy_cookie_flags proxy_cookie_path "
        "proxy_force_ranges proxy_hide_header proxy_ignore_client_abort proxy_ignore_headers proxy_limit_rate "
        "proxy_max_temp_file_size proxy_method proxy_next_upstream proxy_next_upstream_timeout "
        "proxy_next_upstream_tries proxy_pass_header proxy_pass_request_body proxy_pass_request_headers "
        "proxy_pass_trailers proxy_redirect proxy_request_dynamic proxy_set_body",
        _ALL,
        _LATER,
    ),
]
