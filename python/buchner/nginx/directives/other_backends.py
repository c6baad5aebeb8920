"""FastCGI, uwsgi, SCGI, gRPC, memcached: their ``…_pass`` is refused, so the rest has nothing to act on."""

from __future__ import annotations

from buchner.nginx.rows import HTTP, HTTP_SERVER_LOCATION, WORDS, Row, no_effect, refused

_ALL = HTTP_SERVER_LOCATION
_SOCKET = "bind bind_dynamic buffer_size connect_timeout read_timeout send_timeout socket_keepalive"
_RETRY = "allow_upstream next_upstream next_upstream_timeout next_upstream_tries"
_KERNEL = "socket_rcvbuf socket_sndbuf"
_HEADERS = "hide_header ignore_headers intercept_errors pass_header request_dynamic"
_BODY = (
    "buffering buffers busy_buffers_size force_ranges ignore_client_abort limit_rate max_temp_file_size "
    "param pass_request_body pass_request_headers request_buffering store store_access temp_file_write_size temp_path"
)
_CACHE = (
    "cache cache_background_update cache_bypass cache_key cache_lock cache_lock_age cache_lock_timeout "
    "cache_max_range_offset cache_methods cache_min_uses cache_purge cache_revalidate cache_use_stale cache_valid "
    "no_cache"
)
_TLS = (
    "ssl_certificate ssl_certificate_cache ssl_certificate_key ssl_ciphers ssl_conf_command ssl_crl ssl_key_log "
    "ssl_name ssl_password_file ssl_protocols ssl_server_name ssl_session_reuse ssl_trusted_certificate ssl_verify "
    "ssl_verify_depth"
)
_CGI = f"{_SOCKET} {_RETRY} {_KERNEL} {_HEADERS} {_BODY} {_CACHE}"
_UWSGI = "proxy to an HTTP port of the app, or let Buchner run it: an [app] of gateway.toml"
_LATER = "it is not supported yet"


def _rows(prefix: str, settings: str, reason: str) -> list[Row]:
    names = " ".join(f"{prefix}_{setting}" for setting in settings.split())
    why = f"nothing uses it: `{prefix}_pass` is refused"
    rows = no_effect(names, _ALL, WORDS, why, repeat=True)
    rows += refused(f"{prefix}_pass", "location location_if", reason)
    if "cache_key" in settings:
        rows += refused(f"{prefix}_cache_path", HTTP, "caching is not supported yet")
    return rows


_FASTCGI = "catch_stderr index keep_conn send_lowat"

MODULES = {
    "ngx_http_fastcgi_module": [
        *_rows("fastcgi", f"{_CGI} {_FASTCGI}", _LATER),
        *no_effect("fastcgi_split_path_info", "location", WORDS, "nothing uses it: `fastcgi_pass` is refused"),
    ],
    "ngx_http_uwsgi_module": _rows("uwsgi", f"{_CGI} {_TLS} modifier1 modifier2", f"{_LATER}: {_UWSGI}"),
    "ngx_http_scgi_module": _rows("scgi", _CGI, _LATER),
    "ngx_http_grpc_module": _rows("grpc", f"{_SOCKET} {_RETRY} {_KERNEL} {_HEADERS} {_TLS} set_header", _LATER),
    "ngx_http_memcached_module": _rows(
        "memcached", f"{_SOCKET} {_RETRY} gzip_flag", "memcached is not part of Buchner's nginx.conf"
    ),
}
"""Rows by module."""
