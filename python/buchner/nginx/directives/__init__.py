"""The directives Buchner takes, one file per nginx module."""

from buchner.nginx.directives import core, headers, http_core, log, proxy, rewrite, upstream
from buchner.nginx.scope import Row

MODULES = {
    "core": core,
    "ngx_http_core_module": http_core,
    "ngx_http_headers_module": headers,
    "ngx_http_log_module": log,
    "ngx_http_proxy_module": proxy,
    "ngx_http_rewrite_module": rewrite,
    "ngx_http_upstream_module": upstream,
}

ROWS: dict[str, list[Row]] = {}
"""Rows by directive; `server` is two."""
for _module in MODULES.values():
    for _name, _row in _module.DIRECTIVES:
        ROWS.setdefault(_name, []).append(_row)

__all__ = ["MODULES", "ROWS"]
