"""ngx_http_rewrite_module: only ``return`` so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.config import _generated as gen
from buchner.nginx.scope import row

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX = 999


def _return(scope: Scope, directive: Directive) -> None:
    table, path = scope.table, scope.path
    if isinstance(table, gen.Server):
        # Before any location: the server has one route, which answers everything.
        table.route = [gen.Route(path="/")]
        table, path = table.route[0], (*path, "route", 0)
    first = directive.words[0]
    if not first.isdecimal():
        if len(directive.args) > 1 or not first.startswith(("http://", "https://", "$scheme", "/")):
            scope.error(directive.args[0], f'"{first}" is neither a status nor a URL')
            return
        table.redirect = gen.Redirect(to=first, status=302)
        scope.state.places[(*path, "redirect")] = directive.args[0]
        return
    status, text = int(first), directive.words[1] if len(directive.args) > 1 else None
    if status > _MAX:
        scope.error(directive.args[0], f'"{first}" is not a status')
    elif status in _REDIRECTS and text is not None:
        table.redirect = gen.Redirect(to=text, status=status)
        scope.state.places[(*path, "redirect")] = directive.args[1]
    else:
        table.respond = gen.Respond(status=status)
        if text is not None:
            table.respond.body = text
            table.respond.content_type = scope.files.default_type
        scope.state.places[(*path, "respond")] = directive.args[-1]


DIRECTIVES = [
    ("return", row("server location", (1, 2), _return, "route.redirect or route.respond")),
]
