"""ngx_http_map_module: variables whose value depends on a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET, UnsetType

from buchner.config import _generated as gen
from buchner.nginx.rows import HTTP, NUMBER, no_effect, supported, words

if TYPE_CHECKING:
    from buchner.nginx.lexer import Token
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_map_module"


def variable(scope: Scope, token: Token) -> str | None:
    """Return the name of the variable that a directive defines, or None after noting that it is none."""
    if token.text.startswith("$") and len(token.text) > 1:
        return token.text[1:]
    scope.error(token, f'"{token.text}" is not a variable: it begins with "$"')
    return None


def forget(scope: Scope, token: Token) -> None:
    """Take out what defined a variable before, as nginx does: the last `map`, `geo` or `split_clients` holds."""
    name, document = token.text[1:], scope.state.document
    kinds: dict[str, dict[str, Any] | UnsetType] = {
        "map": document.map,
        "geo": document.geo,
        "split_clients": document.split_clients,
    }
    for kind, defined in kinds.items():
        if defined is not UNSET and defined.pop(name, None) is not None:
            line = scope.state.places[kind, name].line
            scope.warn(token, f'"${name}" is defined in line {line} already; what stands here holds')
            for path in [path for path in scope.state.places if path[:2] == (kind, name)]:
                del scope.state.places[path]


def _map(scope: Scope, directive: Directive) -> None:
    name = variable(scope, directive.args[1])
    if name is None:
        return
    document = scope.state.document
    if document.map is UNSET:
        document.map = {}
    forget(scope, directive.args[1])
    table = document.map[name] = gen.Map(source=directive.words[0], values={})
    path = ("map", name)
    scope.state.places[path] = directive.args[1]
    scope.state.places[(*path, "source")] = directive.args[0]
    for entry in directive.block or []:
        _entry(scope, entry, table, path)


def _entry(scope: Scope, entry: Directive, table: gen.Map, path: tuple[str, str]) -> None:
    word = entry.name
    if not entry.args and word in ("hostnames", "volatile"):
        setattr(table, word, True)
        return
    if len(entry.args) != 1:
        scope.error(entry.token, f'"{word}" of "map" takes one value behind it')
        return
    value = entry.words[0]
    if word == "default":
        if table.default is not UNSET:
            scope.error(entry.token, '"default" stands in this map already')
        table.default = value
        scope.state.places[(*path, "default")] = entry.args[0]
        return
    if not word.startswith("~"):
        word = word.lower()
    values = {} if table.values is UNSET else table.values
    if word in values:
        scope.error(entry.token, f'"{word}" stands in this map already')
        return
    table.values = values
    values[word] = value
    scope.state.places[(*path, "values", word)] = entry.token


DIRECTIVES = [
    supported("map", HTTP, words(2), _map, "[map.NAME]", repeat=True, block=True),
    *no_effect("map_hash_bucket_size map_hash_max_size", HTTP, NUMBER, "tables grow by themselves"),
]
