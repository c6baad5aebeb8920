"""ngx_http_auth_basic_module: names and passwords."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.nginx.rows import WORD, supported

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_auth_basic_module"


def _realm(scope: Scope, directive: Directive) -> None:
    scope.put("auth_basic", directive.words[0], directive.args[0])


def _user_file(scope: Scope, directive: Directive) -> None:
    name = directive.words[0]
    if not name.startswith(("/", "$")):
        name = str(scope.state.base / name)
    scope.put("auth_basic_user_file", name, directive.args[0])


_WHERE = "http server location limit_except"
DIRECTIVES = [
    supported("auth_basic", _WHERE, WORD, _realm, "auth_basic"),
    supported("auth_basic_user_file", _WHERE, WORD, _user_file, "auth_basic_user_file"),
]
