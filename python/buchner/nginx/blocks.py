"""The blocks of nginx.conf that become tables of the document: ``http``, ``server``, ``location``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.errors import Problem
from buchner.nginx.files import files_of
from buchner.nginx.reader import read
from buchner.nginx.scope import Scope

if TYPE_CHECKING:
    from buchner.config import places
    from buchner.nginx.parser import Directive

_REGEX = ("~", "~*")
_MODIFIED = 2


def events(scope: Scope, directive: Directive) -> None:
    """Read ``events { }``."""
    read(directive.block or [], Scope("events", scope.state, None, (), parent=scope))


def http(main: Scope, directive: Directive) -> None:
    """Read ``http { }``."""
    http_scope(main, directive.block or [], directive.token.source.name)


def http_scope(main: Scope, directives: list[Directive], name: str) -> None:
    """Read the directives of ``http { }``, with or without the braces around them.

    Args:
        main: the block around it.
        directives: its directives.
        name: the file.

    """
    state = main.state
    scope = Scope("http", state, state.document, (), parent=main)
    read(directives, scope)
    if state.document.access_log is UNSET:
        state.document.access_log = state.access_log
    if not any(child.kind == "server" for child in scope.children) and not state.problems:
        state.problems.append(Problem('no "server" block: nothing is listened on', file=name))


def server(http: Scope, directive: Directive) -> None:
    """Read ``server { }`` of ``http``."""
    servers = http.table.server
    path: places.Path = ("server", len(servers))
    table = gen.Server(route=[])
    servers.append(table)
    http.state.places[path] = directive.token
    scope = Scope("server", http.state, table, path, parent=http)
    scope.finish.append(lambda: _finish_server(scope, directive))
    read(directive.block or [], scope)


def _finish_server(scope: Scope, directive: Directive) -> None:
    table = scope.table
    if table.listen is UNSET:
        table.listen = ["0.0.0.0:80" if os.geteuid() == 0 else "0.0.0.0:8000"]
    if table.names is UNSET:
        table.names = [""]
    if not any(route.path == "/" and route.exact is UNSET for route in table.route or []):
        table.route = [*(table.route or []), gen.Route(path="/", files=files_of(scope))]
        scope.state.places[(*scope.path, "route", len(table.route) - 1)] = directive.token
    _slash_redirects(table)


def location(outer: Scope, directive: Directive) -> None:
    """Read ``location { }``."""
    found = _modifier(outer, directive)
    server = outer.around("server")
    if found is None or server is None:
        return
    modifier, name = found
    if outer.kind == "location" and not _nested(outer, modifier, name, directive):
        return
    if modifier in _REGEX:
        outer.error(directive.args[0], "locations by regular expression are not supported yet")
        return
    table = gen.Route(path=name)
    if modifier == "=":
        table.exact = True
    routes = server.table.route
    path: places.Path = (*server.path, "route", len(routes))
    scope = Scope("location", outer.state, table, path, parent=outer)
    if name.startswith("@") and any(route.path == name for route in routes):
        scope.warn(directive.token, f'no request gets here: "{name}" stands above already')
        scope.path = (*server.path, "unreached", directive.token.line)
    elif "return" in server.seen and not name.startswith("@"):
        scope.warn(directive.token, 'no request gets here: "return" of the server answers before any location')
        scope.path = (*server.path, "unreached", directive.token.line)
    else:
        routes.append(table)
    outer.state.places[scope.path] = directive.token
    outer.state.places[(*scope.path, "path")] = directive.args[-1]
    scope.finish.append(lambda: _answer(scope, directive))
    read(directive.block or [], scope)


def _modifier(outer: Scope, directive: Directive) -> tuple[str, str] | None:
    """Return the modifier of a location, which may stand before its name without a space, and the name."""
    words = directive.words
    if len(words) == _MODIFIED:
        if words[0] not in ("=", "^~", *_REGEX):
            outer.error(directive.args[0], f'"{words[0]}" is no modifier of a location: =, ^~, ~ and ~* are')
            return None
        return words[0], words[1]
    for modifier in ("=", "^~", "~*", "~"):
        if words[0].startswith(modifier):
            return modifier, words[0].removeprefix(modifier)
    return "", words[0]


def _nested(outer: Scope, modifier: str, name: str, directive: Directive) -> bool:
    """Whether a location may stand in another; if not, that is noted."""
    around = outer.table.path
    if outer.table.exact is True:
        outer.error(directive.token, f'"{name}" cannot be inside the exact location "{around}"')
    elif around.startswith("@"):
        outer.error(directive.token, f'"{name}" cannot be inside the named location "{around}"')
    elif not modifier and name.startswith("@"):
        outer.error(directive.token, f'the named location "{name}" can stand in a server only')
    elif modifier not in _REGEX and not name.startswith(around):
        outer.error(directive.args[-1], f'the location "{name}" is outside of the location "{around}" around it')
    else:
        return True
    return False


def _answer(scope: Scope, directive: Directive) -> None:
    """Settle what answers a location: `return` before all, then `proxy_pass`, else files."""
    table = scope.table
    if table.redirect is not UNSET or table.respond is not UNSET:
        table.proxy = UNSET
    elif table.proxy is UNSET:
        table.files = files_of(scope)
        holder = scope.holder("root")
        token = directive.token if holder is None or holder is not scope else holder.tokens["root"]
        scope.state.places.setdefault((*scope.path, "files"), token)


def _slash_redirects(server: gen.Server) -> None:
    """Redirect `/x` to `/x/` where a proxied location ends in a slash and none has `/x` itself, as nginx does."""
    routes = server.route or []
    paths = {route.path for route in routes}
    for route in list(routes):
        bare = route.path[:-1]
        if not (bare and route.path.endswith("/") and route.proxy is not UNSET and route.exact is UNSET):
            continue
        if bare in paths or route.path.startswith("@"):
            continue
        to = f"$scheme://$http_host{route.path}$is_args$args"
        routes.append(gen.Route(path=bare, exact=True, redirect=gen.Redirect(to=to, status=301)))
        paths.add(bare)
