"""ngx_http_limit_conn_module: connections by key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.nginx.directives.limit_req import LEVEL, STATUS, zone
from buchner.nginx.rows import FLAG, HTTP, HTTP_SERVER_LOCATION, put, refused, supported, words

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_limit_conn_module"
_ALL = HTTP_SERVER_LOCATION
_MOST = 65_535


def _zone(scope: Scope, directive: Directive) -> None:
    key, arg = directive.args
    if not arg.text.startswith("zone="):
        scope.error(arg, f'invalid parameter "{arg.text}"')
        return
    found = zone(scope, directive, arg)
    if found is None:
        return
    document = scope.state.document
    if document.limit_conn_zone is UNSET:
        document.limit_conn_zone = {}
    name, size = found
    document.limit_conn_zone[name] = gen.LimitConnZone(key=key.text, size=size)
    scope.state.places["limit_conn_zone", name] = arg
    scope.state.places["limit_conn_zone", name, "key"] = key


def _limit(scope: Scope, directive: Directive) -> None:
    name, number = directive.words
    if not (number.isascii() and number.isdecimal() and int(number) > 0):
        scope.error(directive.args[1], f'invalid number of connections "{number}"')
        return
    if int(number) > _MOST:
        scope.error(directive.args[1], "connection limit must be less 65536")
        return
    limits = [] if scope.table.limit_conn is UNSET else scope.table.limit_conn
    if any(other.zone == name for other in limits):
        scope.error(directive.token, '"limit_conn" is duplicate: a zone stands once in a block')
        return
    scope.state.places[(*scope.path, "limit_conn", len(limits))] = directive.args[0]
    scope.state.places.setdefault((*scope.path, "limit_conn"), directive.token)
    scope.table.limit_conn = [*limits, gen.LimitConn(zone=name, connections=int(number))]


DIRECTIVES = [
    supported("limit_conn_zone", HTTP, words(2), _zone, "[limit_conn_zone.NAME]", repeat=True),
    supported("limit_conn", _ALL, words(2), _limit, "limit_conn", repeat=True),
    supported(
        "limit_conn_status", _ALL, STATUS, put("limit_conn_status"), "limit_conn_status; nginx's default 503 holds"
    ),
    supported("limit_conn_log_level", _ALL, LEVEL, put("limit_conn_log_level"), "limit_conn_log_level"),
    supported("limit_conn_dry_run", _ALL, FLAG, put("limit_conn_dry_run"), "limit_conn_dry_run"),
    *refused("limit_zone", HTTP, "nginx took it out: limit_conn_zone is its successor"),
]
