"""ngx_http_charset_module: the charset of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.nginx.rows import FLAG, HTTP, HTTP_SERVER_LOCATION, WITH_IF, WORD, WORDS, put, supported, words

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_charset_module"


def _charset(scope: Scope, directive: Directive) -> None:
    scope.put(directive.name, directive.words[0], directive.args[0])


def _types(scope: Scope, directive: Directive) -> None:
    scope.put("charset_types", list(dict.fromkeys(["text/html", *directive.words])), directive.token)


def _map(scope: Scope, directive: Directive) -> None:
    source, target = directive.words
    codes: dict[str, str] = {}
    for entry in directive.block or []:
        if entry.block is not None or len(entry.words) != 1:
            scope.error(entry.token, "a line of a charset_map has two codes in hexadecimal")
            continue
        problem = _problem(entry.name, entry.words[0], utf8=target.lower() == "utf-8")
        if problem:
            scope.error(entry.token, problem)
        codes[entry.name] = entry.words[0]
    maps = [] if scope.table.charset_map is UNSET else scope.table.charset_map
    scope.table.charset_map = [*maps, gen.CharsetMap(from_=source, to=target, codes=codes)]
    scope.state.places[(*scope.path, "charset_map", len(maps))] = directive.token


def _problem(source: str, target: str, *, utf8: bool) -> str | None:
    try:
        single = [bytes.fromhex(code.zfill(2)) for code in ([source] if utf8 else [source, target])]
        if any(len(code) != 1 for code in single):
            return f'"{source}" and "{target}" are not both a byte in hexadecimal'
        if utf8 and len(bytes.fromhex(target).decode()) != 1:
            return f'"{target}" is not one character of UTF-8 in hexadecimal'
    except ValueError:
        return f'"{source}" and "{target}" are not codes in hexadecimal'
    return None


DIRECTIVES = [
    supported("charset", WITH_IF, WORD, _charset, "charset"),
    supported("source_charset", WITH_IF, WORD, _charset, "source_charset"),
    supported("override_charset", WITH_IF, FLAG, put("override_charset"), "override_charset"),
    supported("charset_types", HTTP_SERVER_LOCATION, WORDS, _types, "charset_types"),
    supported("charset_map", HTTP, words(2), _map, "charset_map", repeat=True, block=True),
]
