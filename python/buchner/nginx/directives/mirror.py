"""ngx_http_mirror_module: copies of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.nginx.rows import FLAG, HTTP_SERVER_LOCATION, WORD, put, supported

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_mirror_module"


def _mirror(scope: Scope, directive: Directive) -> None:
    uris = [] if scope.table.mirror is UNSET else scope.table.mirror
    uri = directive.words[0]
    if uris and "off" in (uri, *uris):
        scope.error(directive.args[0], '"mirror off" stands alone in its block')
    if uri != "off" and not uri.startswith("/"):
        scope.error(directive.args[0], f'"{uri}" is no URI: it begins with "/"')
    scope.put("mirror", [*uris, uri], directive.args[0])


DIRECTIVES = [
    supported("mirror", HTTP_SERVER_LOCATION, WORD, _mirror, "mirror", repeat=True),
    supported("mirror_request_body", HTTP_SERVER_LOCATION, FLAG, put("mirror_request_body"), "mirror_request_body"),
]
