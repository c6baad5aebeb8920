"""ngx_http_access_module: who may come in, by address."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.nginx.rows import WORD, supported

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_access_module"


def _rule(scope: Scope, directive: Directive) -> None:
    network = directive.words[0]
    if network not in ("all", "unix:"):
        try:
            if "/" in network:
                network = str(ipaddress.ip_network(network, strict=False))
            else:
                ipaddress.ip_address(network)
        except ValueError:
            scope.error(directive.args[0], f'"{network}" is neither an address, a network, "unix:" nor "all"')
            return
    rules = [] if scope.table.access is UNSET else scope.table.access
    scope.state.places[(*scope.path, "access", len(rules))] = directive.args[0]
    scope.state.places.setdefault((*scope.path, "access"), directive.token)
    scope.table.access = [*rules, f"{directive.name} {network}"]


_WHERE = "http server location limit_except"
DIRECTIVES = [
    supported("allow", _WHERE, WORD, _rule, "access", repeat=True),
    supported("deny", _WHERE, WORD, _rule, "access", repeat=True),
]
