"""ngx_http_proxy_module: HTTP upstreams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import upstreams
from buchner.nginx.directives.values import accepted, flag, time
from buchner.nginx.scope import UNBOUND, row

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope


def _proxy_pass(scope: Scope, directive: Directive) -> None:
    url = directive.words[0]
    try:
        target = upstreams.target(url)
    except ValueError as error:
        scope.error(directive.args[0], str(error))
        return
    if target.uri is not None and scope.table.path.startswith("@"):
        scope.error(
            directive.args[0], '"proxy_pass" cannot have a URI in a named location: there is no path to replace'
        )
    scope.state.proxied.add(target.authority)
    scope.put("proxy", url, directive.args[0])


def _proxy_set_header(scope: Scope, directive: Directive) -> None:
    headers = {} if scope.table.set_headers is UNSET else scope.table.set_headers
    name, value = directive.words
    if name.lower() in (known.lower() for known in headers):
        scope.warn(directive.args[0], f'"{name}" is set twice; this one holds')
        headers = {known: text for known, text in headers.items() if known.lower() != name.lower()}
    scope.table.set_headers = {**headers, name: value}
    scope.state.places[(*scope.path, "set_headers", name)] = directive.args[1]


def _proxy_http_version(scope: Scope, directive: Directive) -> None:
    if directive.words[0] not in ("1.0", "1.1"):
        scope.error(directive.args[0], f'"{directive.words[0]}" is neither "1.0" nor "1.1"')


_ALL = "http server location"
_TUNING = [
    "proxy_buffer_size",
    "proxy_buffers",
    "proxy_busy_buffers_size",
    "proxy_temp_path",
    "proxy_temp_file_write_size",
    "proxy_headers_hash_max_size",
    "proxy_headers_hash_bucket_size",
    "proxy_socket_keepalive",
]

DIRECTIVES = [
    ("proxy_pass", row("location", 1, _proxy_pass, "route.proxy")),
    (
        "proxy_set_header",
        row(_ALL, 2, _proxy_set_header, "set_headers; inherited only where the level has none", repeat=True),
    ),
    ("proxy_connect_timeout", row(_ALL, 1, time("connect_timeout"), "connect_timeout; nginx's default 60s holds")),
    ("proxy_send_timeout", row(_ALL, 1, time("upstream_send_timeout"), "upstream_send_timeout")),
    ("proxy_read_timeout", row(_ALL, 1, time("read_timeout"), "read_timeout")),
    ("proxy_buffering", row(_ALL, 1, flag("buffering"), "buffering")),
    ("proxy_request_buffering", row(_ALL, 1, flag("request_buffering"), "request_buffering")),
    ("proxy_intercept_errors", row(_ALL, 1, flag("intercept_errors"), "intercept_errors")),
    ("proxy_http_version", row(_ALL, 1, _proxy_http_version, "nothing: upstreams are always spoken to in HTTP/1.1")),
    *((name, row(_ALL, (1, UNBOUND), accepted, "nothing: there is nothing to tune")) for name in _TUNING),
]
