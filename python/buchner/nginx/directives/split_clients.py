"""ngx_http_split_clients_module: variables that divide requests into parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.nginx.directives.map import forget, variable
from buchner.nginx.rows import HTTP, supported, words

if TYPE_CHECKING:
    from buchner.config.places import Path
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_split_clients_module"


def _split_clients(scope: Scope, directive: Directive) -> None:
    name = variable(scope, directive.args[1])
    if name is None:
        return
    document = scope.state.document
    if document.split_clients is UNSET:
        document.split_clients = {}
    forget(scope, directive.args[1])
    table = document.split_clients[name] = gen.SplitClients(source=directive.words[0], parts=[])
    path: Path = ("split_clients", name)
    scope.state.places[path] = directive.args[1]
    scope.state.places[(*path, "source")] = directive.args[0]
    for entry in directive.block or []:
        if len(entry.args) != 1:
            scope.error(entry.token, f'"{entry.name}" of "split_clients" takes one value behind it')
        else:
            scope.state.places[(*path, "parts", len(table.parts))] = entry.token
            table.parts.append(gen.SplitPart(size=entry.name, value=entry.words[0]))


DIRECTIVES = [
    supported("split_clients", HTTP, words(2), _split_clients, "[split_clients.NAME]", repeat=True, block=True)
]
