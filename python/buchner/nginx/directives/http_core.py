"""ngx_http_core_module: servers, locations, files and limits on clients."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.nginx import blocks, units
from buchner.nginx.directives.listen import listen
from buchner.nginx.rows import (
    BUFFERS,
    FILE_SIZE,
    FLAG,
    HTTP,
    HTTP_SERVER,
    HTTP_SERVER_LOCATION,
    MAIN,
    NOTHING,
    NUMBER,
    SECONDS,
    SIZE,
    TIME,
    UNBOUND,
    WITH_IF,
    WORD,
    WORDS,
    Inherit,
    Kind,
    keep,
    no_effect,
    one_of,
    put,
    put_time,
    refused,
    some_of,
    supported,
    words,
)

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_core_module"


def _server_name(scope: Scope, directive: Directive) -> None:
    names = [] if scope.table.names is UNSET else scope.table.names
    for index, arg in enumerate(directive.args, len(names)):
        scope.state.places[(*scope.path, "names", index)] = arg
    scope.table.names = [*names, *directive.words]
    scope.state.places.setdefault((*scope.path, "names"), directive.token)


def _directory(scope: Scope, directive: Directive) -> None:
    """Keep `root` or `alias`."""
    variable = re.search(r"\$\{?(document_root|realpath_root)\b", directive.words[0])
    if variable:
        scope.error(directive.args[0], f'"${variable[1]}" is what "{directive.name}" says: it cannot be in it')
    other = {"root": "alias", "alias": "root"}[directive.name]
    if other in scope.seen:
        scope.error(directive.token, '"alias" and "root" in one location: keep one of them')
    if directive.name == "alias" and str(getattr(scope.table, "path", "")).startswith("@"):
        scope.error(directive.args[0], '"alias" cannot be in a named location: nothing of the path can be replaced')
    path = directive.words[0]
    scope.state.roots.add(path)
    scope.values[directive.name] = path
    scope.tokens[directive.name] = directive.args[0]
    scope.state.places[(*scope.path, "files")] = directive.args[0]
    root: str | gen.Root = path
    if directive.name == "alias":
        regex = scope.table.match in ("regex", "regex_nocase")
        root = gen.Root(path=path, whole=True) if regex else gen.Root(path=path, alias=len(scope.table.path.encode()))
    scope.put("root", root, directive.args[0])


def _types(scope: Scope, directive: Directive) -> None:
    types: dict[str, str] = {}
    for entry in directive.block or []:
        if entry.block is not None:
            scope.error(entry.token, f'"{entry.name}" has no block: end it with ";"')
        types.update({extension.lower(): entry.name for extension in entry.words})
    known = scope.table.types if "types" in scope.values else {}
    scope.values["types"] = True
    scope.put("types", {**known, **types}, directive.token)


def _early_hints(scope: Scope, directive: Directive) -> None:
    scope.put("early_hints", list(directive.words), directive.token)


def _internal(scope: Scope, directive: Directive) -> None:
    scope.put("internal", True, directive.token)


def _keepalive_disable(scope: Scope, directive: Directive) -> None:
    scope.put("keepalive_disable", [name for name in directive.values if name != "none"], directive.args[0])


def _keepalive_timeout(scope: Scope, directive: Directive) -> None:
    scope.put("keepalive_timeout", directive.values[0] / 1000, directive.args[0])
    if len(directive.values) > 1:
        scope.put("keepalive_told", directive.values[1] / 1000, directive.args[1])


def _client_body_temp_path(scope: Scope, directive: Directive) -> None:
    scope.put("request_body_dir", str(scope.state.prefix / directive.words[0]), directive.args[0])


def _keepalive_requests(scope: Scope, directive: Directive) -> None:
    # To nginx none is too many already, so the first one is the last; here 0 is no limit.
    scope.put("keepalive_requests", max(directive.values[0], 1), directive.args[0])


def _server_tokens(scope: Scope, directive: Directive) -> None:
    scope.put("server_tokens", directive.args[0].text != "off", directive.args[0])


def _ignore_invalid_headers(scope: Scope, directive: Directive) -> None:
    scope.put("ignore_invalid_headers", directive.values[0], directive.args[0])
    if not directive.values[0]:
        # To nginx, an underscore is one of the characters that make a name invalid.
        scope.finish.append(lambda: scope.put("underscores_in_headers", True, directive.args[0]))


def _large_client_header_buffers(scope: Scope, directive: Directive) -> None:
    count, each = directive.values
    scope.put("max_head", count * each, directive.token)
    scope.put("max_field", each, directive.args[1])
    scope.put("max_target", each, directive.args[1])


def _error_page(scope: Scope, directive: Directive) -> None:
    *codes, target = directive.args
    status: int | None = None
    if codes and codes[-1].text.startswith("="):
        change = codes.pop()
        if change.text != "=" and not (change.text[1:].isascii() and change.text[1:].isdecimal()):
            scope.error(change, f'"{change.text}" is no status')
            return
        status = int(change.text[1:] or 0)
    if not codes:
        scope.error(directive.token, '"error_page" has no status')
        return
    page = target.text if status is None else gen.ErrorPage(to=target.text, status=status)
    pages = {} if scope.table.error_page is UNSET else scope.table.error_page
    for code in codes:
        if code.text == _GONE:
            scope.error(code, f'"{_GONE}" is a client that has left: there is nobody to send a page to')
        if code.text not in pages:  # the first one counts
            pages[code.text] = page
            scope.state.places[(*scope.path, "error_page", code.text)] = code if not code.text.isdecimal() else target
    scope.table.error_page = pages
    scope.state.places.setdefault((*scope.path, "error_page"), directive.token)


def _rate(scope: Scope, directive: Directive) -> None:
    word = directive.words[0]
    if "$" not in word:
        try:
            units.size(word)
        except ValueError as error:
            scope.error(directive.args[0], str(error))
            return
    scope.put(directive.name, word, directive.args[0])


def _disable_symlinks(scope: Scope, directive: Directive) -> None:
    word, *rest = directive.words
    start = rest[0].removeprefix("from=") if rest and rest[0].startswith("from=") else None
    if word not in ("on", "off", "if_not_owner") or (rest and (start is None or word == "off")):
        scope.error(directive.token, '"disable_symlinks" is off, or on or if_not_owner with from=part')
        return
    if start and "$" in start and start != "$document_root":
        scope.refuse(directive.args[1], rest[0], "of variables, only $document_root can be here")
        return
    scope.values["disable_symlinks"] = (word, start)
    scope.tokens["disable_symlinks"] = directive.args[0]


_GONE = "499"
_ALL = HTTP_SERVER_LOCATION
_TWO_TIMES = Kind(range(1, 3), TIME.read, "time [time]")
_HASH = "tables grow by themselves"
_MEMORY = "memory is taken as it is needed"
_KERNEL = "left to the kernel and the gateway's own buffers"
_LATER = "it is not supported yet"
_MAX_HEAD = "max_head (number times size), max_field, max_target"
_LISTEN = "server.listen; the I/O threads share one queue of connections, also with reuseport"

_OLD_BROWSERS = some_of("none", "msie6", "safari", most=2)

DIRECTIVES = [
    supported("http", MAIN, NOTHING, blocks.http, "the root of the document", block=True),
    supported("server", HTTP, NOTHING, blocks.server, "[[server]]", repeat=True, block=True),
    supported("location", "server location", words(1, 2), blocks.location, "[[server.route]]", repeat=True, block=True),
    supported("listen", "server", WORDS, listen, _LISTEN, repeat=True),
    supported("server_name", "server", WORDS, _server_name, "server.names", repeat=True),
    supported("root", WITH_IF, WORD, _directory, "root; files.root with files.alias = false"),
    supported("alias", "location", WORD, _directory, "root; files.root"),
    supported("types", _ALL, NOTHING, _types, "types", repeat=True, block=True),
    supported("default_type", _ALL, WORD, put("default_type"), "default_type"),
    supported("etag", _ALL, FLAG, keep, "files.etag"),
    supported("max_ranges", _ALL, NUMBER, keep, "files.max_ranges"),
    supported("if_modified_since", _ALL, one_of("off", "exact", "before"), keep, "files.if_modified_since"),
    supported(
        "disable_symlinks",
        _ALL,
        words(1, 2),
        _disable_symlinks,
        "files.disable_symlinks, files.disable_symlinks_from",
    ),
    supported("limit_rate", WITH_IF, WORD, _rate, "limit_rate"),
    supported("limit_rate_after", WITH_IF, WORD, _rate, "limit_rate_after"),
    supported("chunked_transfer_encoding", _ALL, FLAG, put("chunked_transfer_encoding"), "chunked_transfer_encoding"),
    supported("recursive_error_pages", _ALL, FLAG, put("recursive_error_pages"), "recursive_error_pages"),
    supported("internal", "location", NOTHING, _internal, "route.internal", inherit=Inherit.NONE, sets=("internal",)),
    supported("client_max_body_size", _ALL, FILE_SIZE, put("max_body"), "max_body; nginx's default 1m holds"),
    supported("client_body_timeout", _ALL, TIME, put_time("body_timeout"), "body_timeout"),
    supported("client_body_buffer_size", _ALL, SIZE, put("buffer_memory"), "buffer_memory"),
    supported("send_timeout", _ALL, TIME, put_time("send_timeout"), "send_timeout"),
    supported("client_header_timeout", HTTP_SERVER, TIME, put_time("header_timeout"), "header_timeout"),
    supported("keepalive_timeout", _ALL, _TWO_TIMES, _keepalive_timeout, "keepalive_timeout, keepalive_told"),
    supported("keepalive_requests", _ALL, NUMBER, _keepalive_requests, "keepalive_requests"),
    supported("keepalive_time", _ALL, TIME, put_time("keepalive_time"), "keepalive_time; nginx's default 1h holds"),
    supported("large_client_header_buffers", HTTP_SERVER, BUFFERS, _large_client_header_buffers, _MAX_HEAD),
    supported("underscores_in_headers", HTTP_SERVER, FLAG, put("underscores_in_headers"), "underscores_in_headers"),
    supported("error_page", WITH_IF, words(2, UNBOUND), _error_page, "error_page", repeat=True),
    *no_effect("sendfile", WITH_IF, FLAG, "the gateway sends files by the cheapest way"),
    *no_effect("tcp_nopush tcp_nodelay", _ALL, FLAG, "head and body leave in one write, without delay"),
    *no_effect("sendfile_max_chunk read_ahead send_lowat postpone_output", _ALL, SIZE, _KERNEL),
    *no_effect("output_buffers", _ALL, BUFFERS, _KERNEL),
    *no_effect("directio", _ALL, WORD, _KERNEL),
    *no_effect("directio_alignment", _ALL, FILE_SIZE, _KERNEL),
    *no_effect("aio", _ALL, WORD, "files are read by threads of their own"),
    *no_effect("aio_write", _ALL, FLAG, "files are written by threads of their own"),
    *no_effect("types_hash_max_size types_hash_bucket_size", _ALL, NUMBER, _HASH),
    *no_effect("server_names_hash_max_size server_names_hash_bucket_size", HTTP, NUMBER, _HASH),
    *no_effect("variables_hash_max_size variables_hash_bucket_size", HTTP, NUMBER, _HASH),
    *no_effect("connection_pool_size request_pool_size client_header_buffer_size", HTTP_SERVER, SIZE, _MEMORY),
    *no_effect("subrequest_output_buffer_size", _ALL, SIZE, _MEMORY),
    supported(
        "client_body_temp_path",
        _ALL,
        words(1, 4),
        _client_body_temp_path,
        "request_body_dir, for client_body_in_file_only, without levels; other bodies are in unlinked files of "
        "gateway.spool_dir",
    ),
    supported(
        "client_body_in_file_only",
        _ALL,
        one_of("on", "clean", "off"),
        put("request_body_file"),
        "request_body_file; not of bodies that go on as they come (proxy_request_buffering off)",
    ),
    *no_effect("client_body_in_single_buffer", _ALL, FLAG, "a body that is kept in memory is one piece"),
    *no_effect(
        "open_file_cache",
        _ALL,
        words(1, 2),
        "the gateway's own cache of open files is always there; an entry is believed for a second",
    ),
    *no_effect("open_file_cache_errors", _ALL, FLAG, "the gateway's own cache of open files has bounds of its own"),
    *no_effect("open_file_cache_min_uses", _ALL, NUMBER, "the gateway's own cache of open files has bounds of its own"),
    *no_effect("open_file_cache_valid", _ALL, SECONDS, "the gateway's own cache of open files has bounds of its own"),
    supported("log_not_found", _ALL, FLAG, put("log_not_found"), "log_not_found; nginx's default on holds"),
    supported("log_subrequest", _ALL, FLAG, put("log_subrequest"), "log_subrequest"),
    supported("satisfy", _ALL, one_of("all", "any"), put("satisfy"), "satisfy"),
    supported("auth_delay", _ALL, TIME, put_time("auth_delay"), "auth_delay"),
    supported("limit_except", "location", WORDS, blocks.limit_except, "route.limit_except", block=True),
    *no_effect("msie_padding msie_refresh", _ALL, FLAG, "browsers of before 2013 only"),
    supported("reset_timedout_connection", _ALL, FLAG, put("reset_timedout_connection"), "reset_timedout_connection"),
    supported("lingering_close", _ALL, one_of("off", "on", "always"), put("lingering_close"), "lingering_close"),
    supported("lingering_time", _ALL, TIME, put_time("lingering_time"), "lingering_time"),
    supported("lingering_timeout", _ALL, TIME, put_time("lingering_timeout"), "lingering_timeout"),
    supported("keepalive_disable", _ALL, _OLD_BROWSERS, _keepalive_disable, "keepalive_disable"),
    *no_effect("keepalive_min_timeout", _ALL, TIME, "connections are closed gracefully anyway"),
    supported("server_tokens", _ALL, WORD, _server_tokens, "server_tokens; `build` is `on`, built-in pages have none"),
    supported("absolute_redirect", _ALL, FLAG, put("absolute_redirect"), "absolute_redirect; on by default"),
    supported("server_name_in_redirect", _ALL, FLAG, put("server_name_in_redirect"), "server_name_in_redirect"),
    supported("port_in_redirect", _ALL, FLAG, put("port_in_redirect"), "port_in_redirect"),
    supported("early_hints", _ALL, words(1, UNBOUND), _early_hints, "early_hints"),
    supported("merge_slashes", HTTP_SERVER, FLAG, put("merge_slashes"), "merge_slashes"),
    *refused(
        "error_log_tag",
        _ALL,
        _LATER,
    ),
    supported(
        "ignore_invalid_headers",
        HTTP_SERVER,
        FLAG,
        _ignore_invalid_headers,
        "ignore_invalid_headers; nginx's default on holds; names that are no tokens (RFC 9110) are 400 in any case",
    ),
    supported("max_headers", HTTP_SERVER, NUMBER, put("max_fields"), "max_fields"),
    *refused("post_action", WITH_IF, "nginx does not document it"),
]
