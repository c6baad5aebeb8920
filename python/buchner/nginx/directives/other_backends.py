"""gRPC and memcached: their ``…_pass`` is refused, so the rest has nothing to act on."""

from __future__ import annotations

from buchner.nginx.rows import HTTP_SERVER_LOCATION, WORDS, Row, no_effect, refused

_ALL = HTTP_SERVER_LOCATION
_SOCKET = "bind bind_dynamic buffer_size connect_timeout read_timeout send_timeout socket_keepalive"
_RETRY = "allow_upstream next_upstream next_upstream_timeout next_upstream_tries"
_KERNEL = "socket_rcvbuf socket_sndbuf"
_HEADERS = "hide_header ignore_headers intercept_errors pass_header request_dynamic"
_TLS = (
    "ssl_certificate ssl_certificate_cache ssl_certificate_key ssl_ciphers ssl_conf_command ssl_crl ssl_key_log "
    "ssl_name ssl_password_file ssl_protocols ssl_server_name ssl_session_reuse ssl_trusted_certificate ssl_verify "
    "ssl_verify_depth"
)
_LATER = "it is not supported yet"


def _rows(prefix: str, settings: str, reason: str) -> list[Row]:
    names = " ".join(f"{prefix}_{setting}" for setting in settings.split())
    why = f"nothing uses it: `{prefix}_pass` is refused"
    rows = no_effect(names, _ALL, WORDS, why, repeat=True)
    rows += refused(f"{prefix}_pass", "location location_if", reason)
    return rows


MODULES = {
    "ngx_http_grpc_module": _rows("grpc", f"{_SOCKET} {_RETRY} {_KERNEL} {_HEADERS} {_TLS} set_header", _LATER),
    "ngx_http_memcached_module": _rows(
        "memcached", f"{_SOCKET} {_RETRY} gzip_flag", "memcached is not part of Buchner's nginx.conf"
    ),
}
"""Rows by module."""
