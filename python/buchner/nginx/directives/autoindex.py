"""ngx_http_autoindex_module: lists of directories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.nginx.rows import FLAG, HTTP_SERVER_LOCATION, keep, one_of, supported

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_autoindex_module"
_ALL = HTTP_SERVER_LOCATION


def _localtime(scope: Scope, directive: Directive) -> None:
    if directive.values[0]:
        scope.refuse(directive.args[0], "autoindex_localtime on", "lists have the times of UTC")


DIRECTIVES = [
    supported("autoindex", _ALL, FLAG, keep, "files.autoindex"),
    supported("autoindex_exact_size", _ALL, FLAG, keep, "files.autoindex_exact_size"),
    supported("autoindex_format", _ALL, one_of("html", "xml", "json", "jsonp"), keep, "files.autoindex"),
    supported("autoindex_localtime", _ALL, FLAG, _localtime, "off only: lists have the times of UTC"),
]
