"""ngx_http_gzip_module, and what ngx_http_core_module says about who gets compressed answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.nginx.rows import (
    BUFFERS,
    FLAG,
    HTTP_SERVER_LOCATION,
    SIZE,
    WITH_IF,
    WORDS,
    Kind,
    no_effect,
    one_of,
    put,
    some_of,
    supported,
)

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_gzip_module"
_ALL = HTTP_SERVER_LOCATION
_HTML = "text/html"


def _level(text: str) -> int:
    if text not in "123456789" or len(text) != 1:
        raise ValueError(f'"{text}" is not a level from 1 to 9')
    return int(text)


def _types(scope: Scope, directive: Directive) -> None:
    scope.put("gzip_types", list(dict.fromkeys([_HTML, *directive.words])), directive.token)


def _proxied(scope: Scope, directive: Directive) -> None:
    scope.put("gzip_proxied", list(dict.fromkeys(directive.values)), directive.token)


def _disable(scope: Scope, directive: Directive) -> None:
    scope.put("gzip_disable", [word for word in directive.words if word != "degradation"], directive.token)


def _vary(scope: Scope, directive: Directive) -> None:
    scope.put("gzip_vary", directive.values[0], directive.args[0])
    scope.values["gzip_vary"] = directive.values[0]


_CONDITIONS = some_of("off", "expired", "no-cache", "no-store", "private", "no_last_modified", "no_etag", "auth", "any")

DIRECTIVES = [
    supported("gzip", WITH_IF, FLAG, put("gzip"), "gzip"),
    supported(
        "gzip_comp_level", _ALL, Kind(range(1, 2), (_level,), "1 to 9"), put("gzip_comp_level"), "gzip_comp_level"
    ),
    supported("gzip_types", _ALL, WORDS, _types, "gzip_types"),
    supported("gzip_min_length", _ALL, SIZE, put("gzip_min_length"), "gzip_min_length"),
    supported("gzip_proxied", _ALL, _CONDITIONS, _proxied, "gzip_proxied"),
    supported("gzip_vary", _ALL, FLAG, _vary, "gzip_vary; files.vary"),
    supported("gzip_http_version", _ALL, one_of("1.0", "1.1"), put("gzip_http_version"), "gzip_http_version"),
    supported("gzip_disable", _ALL, WORDS, _disable, "gzip_disable"),
    *no_effect("gzip_buffers", _ALL, BUFFERS, "memory is taken as it is needed"),
]
