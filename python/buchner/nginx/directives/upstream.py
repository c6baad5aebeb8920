"""ngx_http_upstream_module: groups of servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.config import _generated as gen
from buchner.config import units
from buchner.config.suggest import hint
from buchner.nginx.directives.values import accepted, number, time
from buchner.nginx.scope import row

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

_LATER = ("resolve", "slow_start", "max_conns", "route", "service", "drain")
_KNOWN = ("weight", "max_fails", "fail_timeout", "backup", "down")


def _server(scope: Scope, directive: Directive) -> None:
    server = gen.UpstreamServer(address=directive.words[0])
    for arg in directive.args[1:]:
        name, equals, value = arg.text.partition("=")
        if arg.text in ("backup", "down"):
            setattr(server, name, True)
        elif name in ("weight", "max_fails") and value.isdecimal():
            setattr(server, name, int(value))
        elif name == "fail_timeout" and equals:
            try:
                server.fail_timeout = units.nginx_milliseconds(value) / 1000
            except ValueError as error:
                scope.error(arg, str(error))
        elif name in _LATER:
            scope.error(arg, f'"{name}" of an upstream server is not supported yet')
        elif name in _KNOWN:
            scope.error(arg, f'"{arg.text}" is not a valid "{name}"')
        else:
            scope.error(arg, f'unknown parameter "{arg.text}" of an upstream server{hint(name, _KNOWN)}')
    scope.state.places[(*scope.path, "servers", len(scope.table.servers))] = directive.args[0]
    scope.table.servers.append(server)


def _keepalive(scope: Scope, directive: Directive) -> None:
    number("keepalive")(scope, directive)
    if len(directive.args) > 1 and directive.words[1] != "local":
        scope.error(directive.args[1], f'unknown parameter "{directive.words[1]}" of "keepalive"')


DIRECTIVES = [
    ("server", row("upstream", (1, 99), _server, "upstream.servers", repeat=True)),
    ("keepalive", row("upstream", (1, 2), _keepalive, "upstream.keepalive; without it 32, as in nginx from 1.29.7")),
    ("keepalive_timeout", row("upstream", 1, time("keepalive_timeout"), "upstream.keepalive_timeout")),
    ("zone", row("upstream", (1, 2), accepted, "nothing: state is shared anyway")),
]
