"""ngx_http_stub_status_module: numbers of connections and requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.nginx.rows import Inherit, supported, words

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_stub_status_module"


def _stub_status(scope: Scope, directive: Directive) -> None:
    if scope.kind == "server":
        scope.values["stub_status"] = True
        scope.tokens["stub_status"] = directive.token
    else:
        scope.put("stub_status", True, directive.token)


DIRECTIVES = [
    supported(
        "stub_status",
        "server location",
        words(0, 1),
        _stub_status,
        "route.stub_status",
        inherit=Inherit.NONE,
        sets=("stub_status",),
    ),
]
