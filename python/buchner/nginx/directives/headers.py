"""ngx_http_headers_module: headers of responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.nginx import units
from buchner.nginx.rows import WITH_IF, keep, one_of, refused, supported, words

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_headers_module"
_MAX_AGE = 315_360_000
_THREE = 3


def _add_header(scope: Scope, directive: Directive) -> None:
    name, value = directive.words[:2]
    if len(directive.args) == _THREE:
        if directive.words[2] == "always":
            scope.warn(directive.args[2], '"always" has no effect yet: answers from 400 on do not get the header')
        else:
            scope.error(directive.args[2], f'unknown parameter "{directive.words[2]}" of "add_header"')
    headers = {} if scope.table.add_headers is UNSET else scope.table.add_headers
    if name in headers:
        scope.error(directive.args[0], f'"{name}" is added twice: several values of one header are not supported yet')
    scope.table.add_headers = {**headers, name: value}
    scope.state.places[(*scope.path, "add_headers", name)] = directive.args[1]


def _expires(scope: Scope, directive: Directive) -> None:
    word = directive.words[0]
    if len(directive.args) > 1 or word.startswith(("@", "$")):
        scope.error(directive.args[0], "this form of expires is not supported yet: a time, max, epoch and off are")
        return
    values = {"off": None, "epoch": "no-cache", "max": f"max-age={_MAX_AGE}"}
    try:
        value = values[word] if word in values else _age(word)
    except ValueError as error:
        scope.error(directive.args[0], str(error))
        return
    scope.values["expires"] = value


def _age(word: str) -> str:
    if word.startswith("-"):
        units.milliseconds(word[1:], seconds=True)
        return "no-cache"
    return f"max-age={units.milliseconds(word.removeprefix('+'), seconds=True) // 1000}"


DIRECTIVES = [
    supported(
        "add_header",
        WITH_IF,
        words(2, 3),
        _add_header,
        "add_headers",
        sets=("add_headers",),
        mode="add_header_inherit",
        repeat=True,
    ),
    supported(
        "add_header_inherit",
        WITH_IF,
        one_of("on", "off", "merge"),
        keep,
        "add_headers, put together from the blocks around",
    ),
    supported("expires", WITH_IF, words(1, 2), _expires, "files.cache_control, for files only"),
    *refused("add_trailer add_trailer_inherit", WITH_IF, "trailers are not supported yet"),
]
