"""ngx_http_secure_link_module: links that only who knows a secret can make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.nginx.rows import HTTP_SERVER_LOCATION, WORD, supported

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_secure_link_module"


def _put(scope: Scope, directive: Directive) -> None:
    scope.put(directive.name, directive.words[0], directive.args[0])


DIRECTIVES = [
    supported("secure_link", HTTP_SERVER_LOCATION, WORD, _put, "secure_link"),
    supported("secure_link_md5", HTTP_SERVER_LOCATION, WORD, _put, "secure_link_md5"),
    supported("secure_link_secret", "location", WORD, _put, "secure_link_secret"),
]
