"""ngx_http_sub_module: texts replaced in bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.nginx.rows import FLAG, HTTP_SERVER_LOCATION, WORDS, put, supported, words

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_sub_module"
_ALL = HTTP_SERVER_LOCATION


def _sub_filter(scope: Scope, directive: Directive) -> None:
    text, replacement = directive.words
    if not text:
        scope.error(directive.args[0], "an empty text would be found everywhere")
        return
    pairs = [] if scope.table.sub_filter is UNSET else scope.table.sub_filter
    scope.table.sub_filter = [*pairs, gen.SubFilter(text=text, replacement=replacement)]
    scope.state.places[(*scope.path, "sub_filter", len(pairs))] = directive.args[0]


def _types(scope: Scope, directive: Directive) -> None:
    scope.put("sub_filter_types", list(dict.fromkeys(["text/html", *directive.words])), directive.token)


DIRECTIVES = [
    supported("sub_filter", _ALL, words(2), _sub_filter, "sub_filter", repeat=True),
    supported("sub_filter_types", _ALL, WORDS, _types, "sub_filter_types"),
    supported("sub_filter_once", _ALL, FLAG, put("sub_filter_once"), "sub_filter_once"),
    supported("sub_filter_last_modified", _ALL, FLAG, put("sub_filter_last_modified"), "sub_filter_last_modified"),
]
