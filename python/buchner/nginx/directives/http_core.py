"""ngx_http_core_module: servers, locations, files and limits on clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import units
from buchner.nginx.directives.values import accepted, flag, ignored, number, on_off, size, time
from buchner.nginx.scope import UNBOUND, row

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

_LISTEN_LATER = {
    "ssl": "TLS",
    "http2": "HTTP/2",
    "quic": "HTTP/3",
    "proxy_protocol": "the PROXY protocol",
}
_LISTEN_TUNING = [
    "bind",
    "deferred",
    "reuseport",
    "setfib",
    "fastopen",
    "rcvbuf",
    "sndbuf",
    "accept_filter",
    "so_keepalive",
    "multipath",
    "ipv6only=on",
]


def _listen(scope: Scope, directive: Directive) -> None:
    address = directive.words[0]
    if not address.startswith("unix:") and not address.isdecimal() and ":" not in address.rpartition("]")[2]:
        address += ":80"
    options = []
    for arg in directive.args[1:]:
        name, _, value = arg.text.partition("=")
        if arg.text in ("default_server", "default"):
            options.append("default_server")
        elif name == "backlog":
            options.append(f"backlog={value}")
        elif name in _LISTEN_LATER:
            scope.error(arg, f'"listen … {name}": {_LISTEN_LATER[name]} is not supported yet')
        elif name not in _LISTEN_TUNING and arg.text not in _LISTEN_TUNING:
            scope.error(arg, f'unknown parameter "{arg.text}" of "listen"')
    listen = [] if scope.table.listen is UNSET else scope.table.listen
    scope.table.listen = [*listen, " ".join([address, *options])]
    scope.state.places[(*scope.path, "listen", len(listen))] = directive.args[0]
    scope.state.places.setdefault((*scope.path, "listen"), directive.token)


def _server_name(scope: Scope, directive: Directive) -> None:
    names = [] if scope.table.names is UNSET else scope.table.names
    for index, arg in enumerate(directive.args, len(names)):
        scope.state.places[(*scope.path, "names", index)] = arg
    scope.table.names = [*names, *directive.words]
    scope.state.places.setdefault((*scope.path, "names"), directive.token)


def _root(scope: Scope, directive: Directive) -> None:
    if "$" in directive.words[0]:
        scope.error(directive.args[0], "variables in the name of a directory are not supported yet")
    scope.files = scope.files.with_(root=directive.words[0])
    scope.state.places[(*scope.path, "files")] = directive.args[0]


def _alias(scope: Scope, directive: Directive) -> None:
    if "root" in scope.seen:
        scope.error(directive.token, '"alias" and "root" in one location: keep one of them')
    if "$" in directive.words[0]:
        scope.error(directive.args[0], "variables in the name of a directory are not supported yet")
    scope.alias = directive.words[0]
    scope.state.places[(*scope.path, "files")] = directive.args[0]


def _index(scope: Scope, directive: Directive) -> None:
    for arg in directive.args:
        if "$" in arg.text:
            scope.error(arg, 'variables in "index" are not supported yet')
    scope.files = scope.files.with_(index=tuple(directive.words))


def _types(scope: Scope, directive: Directive) -> None:
    types: dict[str, str] = {}
    for entry in directive.block or []:
        if not entry.args or entry.block is not None:
            scope.error(entry.token, f'"{entry.name}" needs the extensions behind it')
        types.update({extension.lower(): entry.name for extension in entry.words})
    scope.files = scope.files.with_(types=types)


def _default_type(scope: Scope, directive: Directive) -> None:
    scope.files = scope.files.with_(default_type=directive.words[0])


def _etag(scope: Scope, directive: Directive) -> None:
    value = on_off(scope, directive)
    if value is not None:
        scope.files = scope.files.with_(etag=value)


def _internal(scope: Scope, directive: Directive) -> None:
    scope.put("internal", True, directive.token)


def _keepalive_timeout(scope: Scope, directive: Directive) -> None:
    try:
        milliseconds = units.nginx_milliseconds(directive.words[0])
    except ValueError as error:
        scope.error(directive.args[0], str(error))
        return
    if milliseconds:
        scope.put("keepalive_timeout", milliseconds / 1000, directive.args[0])
    else:
        scope.put("keepalive_requests", 1, directive.args[0])


def _large_client_header_buffers(scope: Scope, directive: Directive) -> None:
    count, length = directive.words
    try:
        each = units.size(length)
    except ValueError as error:
        scope.error(directive.args[1], str(error))
        return
    if not count.isdecimal() or int(count) == 0:
        scope.error(directive.args[0], f'"{count}" is not a number of buffers')
        return
    scope.put("max_head", int(count) * each, directive.token)
    scope.put("max_field", each, directive.args[1])
    scope.put("max_target", each, directive.args[1])


def _error_page(scope: Scope, directive: Directive) -> None:
    *codes, target = directive.args
    if codes and codes[-1].text.startswith("="):
        scope.error(codes[-1], f'changing the status with "{codes[-1].text}" is not supported yet')
        return
    if target.text.startswith(("http://", "https://", "$")):
        scope.error(target, "a redirect as error page is not supported yet: a URI or an @name is")
        return
    pages = {} if scope.table.error_page is UNSET else scope.table.error_page
    for code in codes:
        pages[code.text] = target.text
        scope.state.places[(*scope.path, "error_page", code.text)] = code if not code.text.isdecimal() else target
    scope.table.error_page = pages
    scope.state.places.setdefault((*scope.path, "error_page"), directive.token)


_TUNING = [
    "sendfile",
    "sendfile_max_chunk",
    "tcp_nopush",
    "tcp_nodelay",
    "server_tokens",
    "types_hash_max_size",
    "types_hash_bucket_size",
    "server_names_hash_max_size",
    "server_names_hash_bucket_size",
    "variables_hash_max_size",
    "variables_hash_bucket_size",
    "client_header_buffer_size",
    "connection_pool_size",
    "request_pool_size",
    "output_buffers",
    "postpone_output",
    "read_ahead",
    "reset_timedout_connection",
    "lingering_close",
    "lingering_time",
    "lingering_timeout",
    "keepalive_disable",
    "keepalive_min_timeout",
    "open_file_cache",
    "open_file_cache_errors",
    "open_file_cache_min_uses",
    "open_file_cache_valid",
    "directio",
    "directio_alignment",
    "aio",
    "log_not_found",
    "log_subrequest",
    "msie_padding",
    "chunked_transfer_encoding",
    "client_body_temp_path",
    "client_body_in_single_buffer",
    "server_name_in_redirect",
    "absolute_redirect",
    "recursive_error_pages",
]
_GZIP = [
    "gzip",
    "gzip_comp_level",
    "gzip_types",
    "gzip_min_length",
    "gzip_vary",
    "gzip_proxied",
    "gzip_buffers",
    "gzip_disable",
    "gzip_http_version",
    "gzip_static",
]
_TLS = ["ssl_protocols", "ssl_prefer_server_ciphers", "ssl_ciphers", "ssl_session_cache", "ssl_session_timeout"]
_ALL = "http server location"

DIRECTIVES = [
    ("listen", row("server", (1, UNBOUND), _listen, "server.listen", repeat=True)),
    ("server_name", row("server", (1, UNBOUND), _server_name, "server.names", repeat=True)),
    ("root", row(_ALL, 1, _root, "files.root with files.alias = false")),
    ("alias", row("location", 1, _alias, "files.root")),
    ("index", row(_ALL, (1, UNBOUND), _index, "files.index")),
    ("types", row(_ALL, 0, _types, "files.types", block=True)),
    ("default_type", row(_ALL, 1, _default_type, "files.default_type")),
    ("etag", row(_ALL, 1, _etag, "files.etag")),
    ("internal", row("location", 0, _internal, "route.internal")),
    ("client_max_body_size", row(_ALL, 1, size("max_body"), "max_body; nginx's default 1m holds")),
    ("client_body_timeout", row(_ALL, 1, time("body_timeout"), "body_timeout")),
    ("client_body_buffer_size", row(_ALL, 1, size("buffer_memory"), "buffer_memory")),
    ("send_timeout", row(_ALL, 1, time("send_timeout"), "send_timeout")),
    ("client_header_timeout", row("http server", 1, time("header_timeout"), "header_timeout")),
    ("keepalive_timeout", row("http server", (1, 2), _keepalive_timeout, "keepalive_timeout")),
    ("keepalive_requests", row("http server", 1, number("keepalive_requests"), "keepalive_requests")),
    (
        "large_client_header_buffers",
        row("http server", 2, _large_client_header_buffers, "max_head (number times size), max_field, max_target"),
    ),
    ("underscores_in_headers", row("http server", 1, flag("underscores_in_headers"), "underscores_in_headers")),
    ("error_page", row(_ALL, (2, UNBOUND), _error_page, "error_page", repeat=True)),
    *((name, row(_ALL, (1, UNBOUND), accepted, "nothing: there is nothing to tune")) for name in _TUNING),
    *(
        (name, row(_ALL, (1, UNBOUND), ignored("compression is not supported yet"), "nothing, with a warning"))
        for name in _GZIP
    ),
    *((name, row("http server", (1, UNBOUND), accepted, "nothing: `listen … ssl` is refused")) for name in _TLS),
]
