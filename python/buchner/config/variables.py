"""The variables a configuration may use, named as in nginx."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from buchner.config import native
from buchner.config.suggest import hint

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLES = frozenset(native.variable_names())
"""Variables with a fixed name."""

PREFIXES = ("arg_", "cookie_", "http_", "sent_http_")
"""Beginnings of variables named after a request argument, cookie or header."""

_REFERENCE = re.compile(r"\$(?:\{(\w+)\}|(\w+)|(.?))")


def problems(text: str) -> Iterator[str]:
    """Yield what is wrong with the variables of `text`, a message each."""
    if "$" not in text:
        return
    for braced, plain, other in _REFERENCE.findall(text):
        name = braced or plain
        if not name:
            yield f'"${other}" begins no variable; there is no escape for "$"' if other else 'a lone "$"'
        elif name not in VARIABLES and not name.startswith(PREFIXES):
            yield f'unknown variable "${name}"{hint(name, VARIABLES)}'
