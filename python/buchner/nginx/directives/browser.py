"""ngx_http_browser_module: old and new browsers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.nginx.rows import HTTP_SERVER_LOCATION, WORD, WORDS, supported, words

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_browser_module"

_BROWSERS = ("msie", "gecko", "opera", "safari", "konqueror")


def _ancient(scope: Scope, directive: Directive) -> None:
    known = [] if scope.table.ancient_browser is UNSET else scope.table.ancient_browser
    scope.put("ancient_browser", [*known, *directive.words], directive.args[0])


def _modern(scope: Scope, directive: Directive) -> None:
    known = [] if scope.table.modern_browser is UNSET else scope.table.modern_browser
    name, *version = directive.words
    if not version:
        if name != "unlisted":
            scope.error(directive.args[0], f'"{name}" needs a version: only "unlisted" stands alone')
            return
    elif name not in _BROWSERS:
        scope.error(directive.args[0], f'unknown browser name "{name}": {", ".join(_BROWSERS)} are known')
        return
    elif not re.fullmatch(r"[0-9.]+", version[0]):
        scope.error(directive.args[1], f'invalid browser version "{version[0]}"')
        return
    scope.put("modern_browser", [*known, " ".join(directive.words)], directive.args[0])


def _value(scope: Scope, directive: Directive) -> None:
    scope.put(directive.name, directive.words[0], directive.args[0])


_ALL = HTTP_SERVER_LOCATION
DIRECTIVES = [
    supported("ancient_browser", _ALL, WORDS, _ancient, "ancient_browser", repeat=True),
    supported("ancient_browser_value", _ALL, WORD, _value, "ancient_browser_value"),
    supported("modern_browser", _ALL, words(1, 2), _modern, "modern_browser", repeat=True),
    supported("modern_browser_value", _ALL, WORD, _value, "modern_browser_value"),
]
