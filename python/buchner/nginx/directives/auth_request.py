"""ngx_http_auth_request_module: a subrequest says who may come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.nginx.rows import HTTP_SERVER_LOCATION, WORD, supported, words

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_auth_request_module"


def _auth_request(scope: Scope, directive: Directive) -> None:
    uri = directive.words[0]
    if uri != "off" and not uri.startswith("/"):
        scope.error(directive.args[0], f'"{uri}" is no URI: it begins with "/"')
    scope.put("auth_request", uri, directive.args[0])


def _auth_request_set(scope: Scope, directive: Directive) -> None:
    name, value = directive.words
    if not name.startswith("$"):
        scope.error(directive.args[0], f'"{name}" is not a variable: it begins with "$"')
        return
    known = {} if scope.table.auth_request_set is UNSET else scope.table.auth_request_set
    scope.table.auth_request_set = {**known, name[1:]: value}
    scope.state.places[(*scope.path, "auth_request_set", name[1:])] = directive.args[1]


DIRECTIVES = [
    supported("auth_request", HTTP_SERVER_LOCATION, WORD, _auth_request, "auth_request"),
    supported("auth_request_set", HTTP_SERVER_LOCATION, words(2), _auth_request_set, "auth_request_set", repeat=True),
]
