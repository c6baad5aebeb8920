"""ngx_http_rewrite_module: only ``return`` so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.config import _generated as gen
from buchner.nginx.rows import FLAG, REWRITE, Inherit, no_effect, refused, supported, words

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_rewrite_module"
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
            scope.finish.append(lambda: _content_type(table, scope))
        scope.state.places[(*path, "respond")] = directive.args[-1]


def _content_type(table: gen.Route, scope: Scope) -> None:
    if isinstance(table.respond, gen.Respond):
        table.respond.content_type = scope.value("default_type", "text/plain")


_LATER = "rewriting is not supported yet"

DIRECTIVES = [
    supported(
        "return",
        REWRITE,
        words(1, 2),
        _return,
        "route.redirect or route.respond",
        inherit=Inherit.NONE,
        sets=("redirect", "respond"),
    ),
    *refused("break rewrite set", REWRITE, _LATER),
    *refused("if", "server location", _LATER, block=True),
    *no_effect("rewrite_log uninitialized_variable_warn", f"http {REWRITE}", FLAG, "they only add lines to a log"),
]
