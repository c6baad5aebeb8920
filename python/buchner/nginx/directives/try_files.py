"""ngx_http_try_files_module: files that may stand for a request's path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.nginx.rows import UNBOUND, Inherit, supported, words

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_try_files_module"


def _try_files(scope: Scope, directive: Directive) -> None:
    if scope.kind == "server":  # for requests that no location takes: the route of those is made at the end
        scope.values["try_files"] = directive.words
    else:
        scope.put("try_files", directive.words, directive.token)
    for index, arg in enumerate(directive.args):
        scope.state.places[(*scope.path, "try_files", index)] = arg


DIRECTIVES = [
    supported("try_files", "server location", words(2, UNBOUND), _try_files, "route.try_files", inherit=Inherit.NONE)
]
