"""ngx_http_headers_module: headers of responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.nginx import units
from buchner.nginx.fields import named, one_line
from buchner.nginx.rows import WITH_IF, keep, one_of, supported, words

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.rows import Handler
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_headers_module"
_DAY = 86_400_000
_THREE = 3


def _added(setting: str) -> Handler:
    """Return a handler of a field that is added, under a setting that is a list of them."""

    def handle(scope: Scope, directive: Directive) -> None:
        header = gen.AddHeader(name=directive.words[0], value=one_line(scope, directive.args[1]))
        if len(directive.args) == _THREE:
            if directive.words[2] != "always":
                scope.error(directive.args[2], f'unknown parameter "{directive.words[2]}" of "{directive.name}"')
            header.always = True
        above = getattr(scope.table, setting)
        headers = [] if above is UNSET else above
        place = (*scope.path, setting, len(headers))
        scope.state.places[place] = directive.args[0]
        scope.state.places[(*place, "value")] = directive.args[1]
        setattr(scope.table, setting, [*headers, header] if named(scope, directive.args[0]) else headers)

    return handle


def _expires(scope: Scope, directive: Directive) -> None:
    first = directive.words[0]
    if len(directive.args) > 1 and first != "modified":
        scope.error(directive.args[0], f'"{first}" is not "modified", the only word before a time')
        return
    time = directive.words[-1]
    try:
        if "$" not in time and not (len(directive.args) == 1 and time in ("off", "epoch", "max")):
            _check(time, daily=len(directive.args) == 1 and time.startswith("@"))
    except ValueError as error:
        scope.error(directive.args[-1], str(error))
        return
    scope.put("expires", " ".join(directive.words), directive.args[0])


def _check(time: str, *, daily: bool) -> None:
    """Check a time of expiry.

    Raises:
        ValueError: it is none.

    """
    if daily:
        if units.milliseconds(time[1:], seconds=True) >= _DAY:
            raise ValueError(f'"{time}" is not a time of a day')
        return
    units.milliseconds(time[1:] if time[:1] in ("-", "+") else time, seconds=True)


DIRECTIVES = [
    supported(
        "add_header",
        WITH_IF,
        words(2, 3),
        _added("add_headers"),
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
    supported(
        "add_trailer",
        WITH_IF,
        words(2, 3),
        _added("add_trailers"),
        "add_trailers",
        sets=("add_trailers",),
        mode="add_trailer_inherit",
        repeat=True,
    ),
    supported(
        "add_trailer_inherit",
        WITH_IF,
        one_of("on", "off", "merge"),
        keep,
        "add_trailers, put together from the blocks around",
    ),
    supported("expires", WITH_IF, words(1, 2), _expires, "expires"),
]
