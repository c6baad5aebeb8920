"""ngx_http_index_module: files that stand for a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.nginx.rows import HTTP_SERVER_LOCATION, WORDS, supported

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_index_module"


def _index(scope: Scope, directive: Directive) -> None:
    for arg in directive.args:
        if not arg.text:
            scope.error(arg, "the name of an index cannot be empty")
            return
    scope.values["index"] = [*scope.values.get("index", []), *directive.words]
    scope.tokens.setdefault("index", directive.args[0])


DIRECTIVES = [supported("index", HTTP_SERVER_LOCATION, WORDS, _index, "files.index", repeat=True)]
