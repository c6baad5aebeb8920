"""Names and values of headers in nginx.conf, where nginx takes what no header can be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buchner.nginx.lexer import Token
    from buchner.nginx.scope import Scope

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BREAK = re.compile(r"[ \t]*[\r\n]+[ \t\r\n]*")


def is_name(text: str) -> bool:
    """Whether a header can have this name."""
    return _NAME.fullmatch(text) is not None


def named(scope: Scope, token: Token) -> bool:
    """Whether a header can have this name; one that cannot is left out, with a warning."""
    if is_name(token.text):
        return True
    meant = token.text.rstrip(":")
    hint = f' (did you mean "{meant}"?)' if is_name(meant) else ""
    scope.warn(token, f'"{token.text}" is not the name of a header: the directive has no effect{hint}')
    return False


def one_line(scope: Scope, token: Token) -> str:
    """Return a value in one line: nginx would send line breaks as they are, and with them headers of other names."""
    if not _BREAK.search(token.text):
        return token.text
    scope.warn(token, "a line break in the value of a header: a space takes its place")
    return _BREAK.sub(" ", token.text).strip()
