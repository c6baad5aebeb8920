"""ngx_http_addition_module: answers of subrequests around bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.nginx.rows import HTTP_SERVER_LOCATION, WORD, WORDS, supported

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_addition_module"


def _uri(scope: Scope, directive: Directive) -> None:
    uri = directive.words[0]
    if uri and not uri.startswith("/"):
        scope.error(directive.args[0], f'"{uri}" does not begin with "/"')
        return
    scope.put(directive.name, uri, directive.args[0])


def _types(scope: Scope, directive: Directive) -> None:
    scope.put("addition_types", list(dict.fromkeys(["text/html", *directive.words])), directive.token)


DIRECTIVES = [
    supported("add_before_body", HTTP_SERVER_LOCATION, WORD, _uri, "add_before_body"),
    supported("add_after_body", HTTP_SERVER_LOCATION, WORD, _uri, "add_after_body"),
    supported("addition_types", HTTP_SERVER_LOCATION, WORDS, _types, "addition_types"),
]
