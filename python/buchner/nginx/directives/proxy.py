"""ngx_http_proxy_module: HTTP upstreams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.config import native, upstreams
from buchner.nginx.directives import upstream_tls
from buchner.nginx.fields import is_name, named, one_line
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
    some_of,
    supported,
    words,
)
from buchner.nginx.upstream_encryption import encrypt

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.rows import Handler
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_proxy_module"

_IGNORABLE = {name.lower(): name for name in native.ignorable_headers()}
_COOKIE_FLAGS = (
    "secure",
    "nosecure",
    "httponly",
    "nohttponly",
    "samesite=strict",
    "samesite=lax",
    "samesite=none",
    "nosamesite",
)
_NEXT = some_of(
    "error",
    "timeout",
    "invalid_header",
    "http_500",
    "http_502",
    "http_503",
    "http_504",
    "http_403",
    "http_404",
    "http_429",
    "non_idempotent",
    "updating",
    "off",
)


def _proxy_pass(scope: Scope, directive: Directive) -> None:
    url = directive.words[0]
    if "$" in url:
        if not url.lower().startswith(("http://", "https://", "$")):
            scope.error(directive.args[0], f'invalid URL prefix in "{url}": http:// and https:// are')
        if not url.lower().startswith("http://"):
            scope.finish.append(lambda: encrypt(scope, directive.args[0]))
        scope.put("proxy", gen.Proxy(url=url), directive.args[0])
        return
    try:
        target = upstreams.target(url)
        if target.language != upstreams.HTTP:
            raise ValueError(f'invalid URL prefix in "{url}": {target.language}_pass is for that')  # noqa: TRY301
    except ValueError as error:
        scope.error(directive.args[0], str(error))
        return
    if target.uri is not None and _pathless(scope):
        scope.error(
            directive.args[0],
            '"proxy_pass" cannot have a URI in a named location, one by regular expression, an "if" or '
            'a "limit_except": there is no path to replace',
        )
    scope.state.proxied.setdefault((target.authority, target.tls, target.language), directive.args[0])
    scope.put("proxy", url, directive.args[0])
    if target.tls:
        scope.finish.append(lambda: encrypt(scope, directive.args[0]))


def _pathless(scope: Scope) -> bool:
    if scope.kind != "location":
        return True
    return scope.table.path.startswith("@") or scope.table.match in ("regex", "regex_nocase")


def _proxy_set_header(scope: Scope, directive: Directive) -> None:
    headers = {} if scope.table.set_headers is UNSET else scope.table.set_headers
    scope.table.set_headers = headers
    name, value = directive.words[0], one_line(scope, directive.args[1])
    if not value and not is_name(name):
        return  # nothing would be sent
    if not named(scope, directive.args[0]):
        return
    name = next((known for known in headers if known.lower() == name.lower()), name)
    before = headers.get(name)
    values = value if before is None else [*([before] if isinstance(before, str) else before), value]
    scope.table.set_headers = {**headers, name: values}
    scope.state.places[(*scope.path, "set_headers", name)] = directive.args[1]


def _text(setting: str) -> Handler:
    """Return a handler that puts the only word into a setting."""

    def handle(scope: Scope, directive: Directive) -> None:
        scope.put(setting, directive.words[0], directive.args[0])

    return handle


def _add(scope: Scope, setting: str, values: list[Any], directive: Directive) -> None:
    """Add to a list of this block's own."""
    own = getattr(scope.table, setting)
    scope.put(setting, values if own is UNSET else [*own, *values], directive.token)


def _header_names(setting: str) -> Handler:
    """Return a handler that adds names of headers to a setting."""

    def handle(scope: Scope, directive: Directive) -> None:
        _add(scope, setting, [arg.text for arg in directive.args if named(scope, arg)], directive)

    return handle


def _ignore_headers(scope: Scope, directive: Directive) -> None:
    for arg in directive.args:
        if arg.text.lower() not in _IGNORABLE:
            scope.error(arg, f'"{arg.text}" cannot be ignored; {", ".join(_IGNORABLE.values())} can')
            return
    _add(scope, "proxy_ignore_headers", [_IGNORABLE[word.lower()] for word in directive.words], directive)


def _taken_back(scope: Scope, setting: str, directive: Directive) -> bool:
    """Read ``off``, beside which nothing else of this block counts. Returns whether there is nothing more to do."""
    if len(directive.args) == 1 and directive.words[0] == "off":
        scope.put(setting, [], directive.args[0])
        scope.values[setting] = "off"
        return True
    return scope.values.get(setting) == "off"


def _proxy_redirect(scope: Scope, directive: Directive) -> None:
    if _taken_back(scope, "proxy_redirect", directive):
        return
    if len(directive.args) == 1:
        if directive.words[0] != "default":
            scope.error(directive.args[0], f'"{directive.words[0]}" is neither "default" nor "off"')
            return
        proxy = getattr(scope.table, "proxy", UNSET)
        if isinstance(proxy, gen.Proxy):
            scope.error(directive.args[0], '"default" has no meaning for a "proxy_pass" with variables')
        elif proxy is UNSET:
            scope.error(directive.args[0], '"default" stands behind the "proxy_pass" it is about')
        _add(scope, "proxy_redirect", [gen.Replace(from_="default")], directive)
        return
    _add(scope, "proxy_redirect", [gen.Replace(from_=directive.words[0], to=directive.words[1])], directive)


def _replace(setting: str) -> Handler:
    """Return a handler for a text and what takes its place, or ``off``."""

    def handle(scope: Scope, directive: Directive) -> None:
        if _taken_back(scope, setting, directive):
            return
        if len(directive.args) == 1:
            scope.error(directive.args[0], f'"{directive.words[0]}" is not "off", and nothing takes its place')
            return
        _add(scope, setting, [gen.Replace(from_=directive.words[0], to=directive.words[1])], directive)

    return handle


def _cookie_flags(scope: Scope, directive: Directive) -> None:
    if _taken_back(scope, "proxy_cookie_flags", directive):
        return
    cookie, *flags = directive.words
    for arg in directive.args[1:]:
        if "$" not in arg.text and arg.text.lower() not in _COOKIE_FLAGS:
            scope.error(arg, f'"{arg.text}" is none of {", ".join(_COOKIE_FLAGS)}')
    _add(scope, "proxy_cookie_flags", [gen.CookieFlags(cookie=cookie, flags=flags)], directive)


def _next_upstream(scope: Scope, directive: Directive) -> None:
    values = [value for value in directive.values if value != "updating"]  # says something about a cache only
    _add(scope, "proxy_next_upstream", values, directive)


def _bind(scope: Scope, directive: Directive) -> None:
    if len(directive.args) > 1:
        if directive.words[1] == "transparent":
            scope.refuse(directive.args[1], "transparent", "the gateway has no right to use addresses of others")
        else:
            scope.error(directive.args[1], f'"{directive.words[1]}" is not "transparent"')
    address = directive.words[0]
    scope.put("proxy_bind", "" if address == "off" else address, directive.args[0])


def _off(scope: Scope, directive: Directive) -> None:
    """Take ``off`` of a directive that is refused otherwise."""
    if directive.words != ["off"]:
        scope.refuse(directive.token, directive.name, _CACHE)


_ALL = HTTP_SERVER_LOCATION
_BUFFERS = "the gateway's buffers grow and shrink with the load"
_CACHE = "caching is not supported yet"
_NO_CACHE = "nothing is cached: `proxy_cache` is refused"
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
    supported("proxy_http_version", _ALL, one_of("1.0", "1.1"), put("proxy_http_version"), "proxy_http_version"),
    supported("proxy_method", _ALL, WORD, _text("proxy_method"), "proxy_method"),
    supported("proxy_set_body", _ALL, WORD, _text("proxy_set_body"), "proxy_set_body"),
    supported("proxy_pass_request_headers", _ALL, FLAG, put("proxy_pass_request_headers"), "the same setting"),
    supported("proxy_pass_request_body", _ALL, FLAG, put("proxy_pass_request_body"), "the same setting"),
    supported("proxy_hide_header", _ALL, WORD, _header_names("proxy_hide_headers"), "proxy_hide_headers", repeat=True),
    supported("proxy_pass_header", _ALL, WORD, _header_names("proxy_pass_headers"), "proxy_pass_headers", repeat=True),
    supported("proxy_ignore_headers", _ALL, WORDS, _ignore_headers, "proxy_ignore_headers", repeat=True),
    supported("proxy_redirect", _ALL, words(1, 2), _proxy_redirect, "proxy_redirect; default by default", repeat=True),
    supported(
        "proxy_cookie_domain",
        _ALL,
        words(1, 2),
        _replace("proxy_cookie_domain"),
        "proxy_cookie_domain",
        repeat=True,
    ),
    supported("proxy_cookie_path", _ALL, words(1, 2), _replace("proxy_cookie_path"), "proxy_cookie_path", repeat=True),
    supported("proxy_cookie_flags", _ALL, words(1, 5), _cookie_flags, "proxy_cookie_flags", repeat=True),
    supported("proxy_next_upstream", _ALL, _NEXT, _next_upstream, "proxy_next_upstream", repeat=True),
    supported("proxy_next_upstream_timeout", _ALL, TIME, put_time("proxy_next_upstream_timeout"), "the same setting"),
    supported("proxy_next_upstream_tries", _ALL, NUMBER, put("proxy_next_upstream_tries"), "the same setting"),
    supported("proxy_bind", _ALL, words(1, 2), _bind, "proxy_bind; `transparent` is refused"),
    supported("proxy_limit_rate", _ALL, WORD, _text("proxy_limit_rate"), "proxy_limit_rate"),
    supported("proxy_force_ranges", _ALL, FLAG, put("proxy_force_ranges"), "proxy_force_ranges"),
    supported("proxy_ignore_client_abort", _ALL, FLAG, put("proxy_ignore_client_abort"), "the same setting"),
    supported("proxy_socket_keepalive", _ALL, FLAG, put("proxy_socket_keepalive"), "proxy_socket_keepalive"),
    supported("proxy_pass_trailers", _ALL, FLAG, put("proxy_pass_trailers"), "proxy_pass_trailers"),
    *no_effect("proxy_buffer_size proxy_busy_buffers_size proxy_temp_file_write_size", _ALL, SIZE, _BUFFERS),
    *no_effect("proxy_buffers", _ALL, BUFFERS, _BUFFERS),
    *no_effect("proxy_temp_path", _ALL, words(1, 4), "bodies spill into unlinked files of gateway.spool_dir"),
    *no_effect("proxy_headers_hash_max_size proxy_headers_hash_bucket_size", _ALL, NUMBER, "tables grow by themselves"),
    supported("proxy_max_temp_file_size", _ALL, SIZE, put("buffer_spool"), "buffer_spool; without it 64 MiB"),
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
    *upstream_tls.rows("proxy_"),
    *refused(
        "proxy_allow_upstream proxy_bind_dynamic proxy_request_dynamic",
        _ALL,
        _LATER,
    ),
]
