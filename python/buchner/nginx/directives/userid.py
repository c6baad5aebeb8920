"""ngx_http_userid_module: a cookie that tells clients apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.nginx import units
from buchner.nginx.rows import HTTP_SERVER_LOCATION, NUMBER, WORD, Kind, one_of, put, some_of, supported

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_userid_module"
_ALL = HTTP_SERVER_LOCATION


def _word(scope: Scope, directive: Directive) -> None:
    scope.put(directive.name, directive.words[0], directive.args[0])


def _expires(scope: Scope, directive: Directive) -> None:
    word = directive.words[0]
    try:
        if word not in ("off", "max"):
            units.milliseconds(word, seconds=True)
    except ValueError as error:
        scope.error(directive.args[0], str(error))
        return
    scope.put("userid_expires", word, directive.args[0])


def _flags(scope: Scope, directive: Directive) -> None:
    scope.put("userid_flags", [flag for flag in directive.values if flag != "off"], directive.token)


def _mark(text: str) -> str:
    if text != "off" and not (len(text) == 1 and text.isascii() and (text.isalnum() or text == "=")):
        raise ValueError(f'"{text}" is no mark: a letter, a digit, "=" or "off" is')
    return text


_FLAGS = some_of("off", "secure", "httponly", "samesite=strict", "samesite=lax", "samesite=none")

DIRECTIVES = [
    supported("userid", _ALL, one_of("on", "v1", "log", "off"), put("userid"), "userid"),
    supported("userid_name", _ALL, WORD, _word, "userid_name"),
    supported("userid_domain", _ALL, WORD, _word, "userid_domain"),
    supported("userid_path", _ALL, WORD, _word, "userid_path"),
    supported("userid_expires", _ALL, WORD, _expires, "userid_expires"),
    supported("userid_p3p", _ALL, WORD, _word, "userid_p3p"),
    supported(
        "userid_mark", _ALL, Kind(range(1, 2), (_mark,), "letter|digit|=|off"), put("userid_mark"), "userid_mark"
    ),
    supported("userid_service", _ALL, NUMBER, put("userid_service"), "userid_service"),
    supported("userid_flags", _ALL, _FLAGS, _flags, "userid_flags"),
]
