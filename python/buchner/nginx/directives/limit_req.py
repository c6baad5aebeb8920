"""ngx_http_limit_req_module: rates of requests by key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.nginx import units
from buchner.nginx.rows import FLAG, HTTP, HTTP_SERVER_LOCATION, Kind, one_of, put, supported, words

if TYPE_CHECKING:
    from buchner.nginx.lexer import Token
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_limit_req_module"
PAGES = 32 << 10
"""nginx refuses zones of less than eight pages."""
_ALL = HTTP_SERVER_LOCATION


def zone(scope: Scope, directive: Directive, arg: Token) -> tuple[str, int] | None:
    """Read the name and size of `zone=name:size`."""
    name, colon, text = arg.text.removeprefix("zone=").rpartition(":")
    if not colon or not name:
        scope.error(arg, f'invalid zone size "{arg.text}": zone=name:10m has one')
        return None
    try:
        size = units.size(text)
    except ValueError:
        scope.error(arg, f'invalid zone size "{arg.text}": zone=name:10m has one')
        return None
    if size < PAGES:
        scope.error(arg, f'zone "{name}" is too small: 32k are the least')
        return None
    document = scope.state.document
    for tables in (document.limit_req_zone, document.limit_conn_zone):
        if tables is not UNSET and name in tables:
            scope.error(arg, f'{directive.name} "{name}" is already bound to key "{tables[name].key}"')
            return None
    return name, size


def _zone(scope: Scope, directive: Directive) -> None:
    key, *rest = directive.args
    found: tuple[str, int] | None = None
    written = "1r/s"
    for arg in rest:
        if arg.text.startswith("zone="):
            found = zone(scope, directive, arg)
            if found is None:
                return
        elif arg.text.startswith("rate="):
            written = arg.text.removeprefix("rate=")
            if not _is_rate(written):
                scope.error(arg, f'invalid rate "{arg.text}": rate=10r/s or rate=10r/m is one')
                return
        elif arg.text == "sync":
            scope.refuse(arg, "sync", "it is of nginx's paid edition")
        else:
            scope.error(arg, f'invalid parameter "{arg.text}"')
            return
    if found is None:
        scope.error(directive.token, f'"{directive.name}" must have "zone" parameter')
        return
    document = scope.state.document
    if document.limit_req_zone is UNSET:
        document.limit_req_zone = {}
    name, size = found
    document.limit_req_zone[name] = gen.LimitReqZone(key=key.text, rate=written, size=size)
    scope.state.places["limit_req_zone", name] = directive.args[1]
    scope.state.places["limit_req_zone", name, "key"] = key


def _is_rate(text: str) -> bool:
    """Whether nginx takes it: a whole number above 0, and nothing but r/s or r/m after it."""
    number = text.removesuffix("r/s").removesuffix("r/m")
    return number.isascii() and number.isdecimal() and 0 < int(number) < 1 << 31


def _number(scope: Scope, arg: Token, what: str) -> int:
    text = arg.text.partition("=")[2]
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 31):
        scope.error(arg, f'invalid {what} value "{arg.text}"')
        return 0
    return int(text)


def _limit(scope: Scope, directive: Directive) -> None:
    limit = gen.LimitReq(zone="")
    for arg in directive.args:
        if arg.text.startswith("zone="):
            limit.zone = arg.text.removeprefix("zone=")
        elif arg.text.startswith("burst="):
            limit.burst = _number(scope, arg, "burst rate")
        elif arg.text.startswith("delay="):
            limit.delay = _number(scope, arg, "delay rate")
        elif arg.text == "nodelay":
            limit.nodelay = True
        else:
            scope.error(arg, f'invalid parameter "{arg.text}"')
            return
    if not limit.zone:
        scope.error(directive.token, '"limit_req" must have "zone" parameter')
        return
    limits = [] if scope.table.limit_req is UNSET else scope.table.limit_req
    if any(other.zone == limit.zone for other in limits):
        scope.error(directive.token, '"limit_req" is duplicate: a zone stands once in a block')
        return
    scope.state.places[(*scope.path, "limit_req", len(limits))] = directive.args[0]
    scope.state.places.setdefault((*scope.path, "limit_req"), directive.token)
    scope.table.limit_req = [*limits, limit]


def _status(text: str) -> int:
    number = units.number(text)
    if not 400 <= number <= 599:  # noqa: PLR2004 - the statuses of errors
        raise ValueError(f'value must be between 400 and 599: "{text}" is not')
    return number


STATUS = Kind(range(1, 2), (_status,), "status")
LEVEL = one_of("info", "notice", "warn", "error")

DIRECTIVES = [
    supported("limit_req_zone", HTTP, words(3, 4), _zone, "[limit_req_zone.NAME]", repeat=True),
    supported("limit_req", _ALL, words(1, 3), _limit, "limit_req", repeat=True),
    supported("limit_req_status", _ALL, STATUS, put("limit_req_status"), "limit_req_status; nginx's default 503 holds"),
    supported("limit_req_log_level", _ALL, LEVEL, put("limit_req_log_level"), "limit_req_log_level"),
    supported("limit_req_dry_run", _ALL, FLAG, put("limit_req_dry_run"), "limit_req_dry_run"),
]
