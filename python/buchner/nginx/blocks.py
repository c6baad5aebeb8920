"""The blocks of nginx.conf that become tables of the document: ``http``, ``server``, ``location``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.config.table import written
from buchner.nginx.encryption import encrypt
from buchner.nginx.files import files_of
from buchner.nginx.reader import read
from buchner.nginx.scope import Scope

if TYPE_CHECKING:
    from buchner.config import places
    from buchner.nginx.parser import Directive

_MATCH = {"=": "exact", "^~": "no_regex", "~": "regex", "~*": "regex_nocase"}
_MODIFIED = 2
_METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "MKCOL",
    "COPY",
    "MOVE",
    "OPTIONS",
    "PROPFIND",
    "PROPPATCH",
    "LOCK",
    "UNLOCK",
    "PATCH",
)
_HANDLERS = tuple(name for name in gen.CONTENTS if name != "files")
"""Content handlers that a location has by a directive of their own; without one it has files."""
_FILES = ("root", "alias", "index", "etag")


def events(scope: Scope, directive: Directive) -> None:
    """Read ``events { }``."""
    read(directive.block or [], Scope("events", scope.state, None, (), parent=scope))


def http(main: Scope, directive: Directive) -> None:
    """Read ``http { }``."""
    http_scope(main, directive.block or [])


def http_scope(main: Scope, directives: list[Directive]) -> None:
    """Read the directives of ``http { }``, with or without the braces around them.

    Args:
        main: the block around it.
        directives: its directives.

    """
    state = main.state
    scope = Scope("http", state, state.document, (), parent=main)
    read(directives, scope)
    if state.document.access_log is UNSET:
        state.document.access_log = state.access_log


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
    encrypt(scope)
    if not any(route.path == "/" and route.match in (UNSET, "no_regex") for route in table.route or []):
        handlers = {name: scope.values[name] for name in _HANDLERS if name in scope.values}
        if handlers:
            route = gen.Route(path="/", **handlers)
        else:
            route = gen.Route(path="/", files=files_of(scope), try_files=scope.values.get("try_files", UNSET))
            for index in range(len(scope.values.get("try_files", ()))):
                made = (*scope.path, "route", len(table.route or []), "try_files", index)
                scope.state.places[made] = scope.state.places[(*scope.path, "try_files", index)]
        table.route = [*(table.route or []), route]
        made = (*scope.path, "route", len(table.route) - 1)
        holder = scope.holder("root")
        scope.state.places[made] = directive.token
        scope.state.places[(*made, "files")] = directive.token if holder is None else holder.tokens["root"]


def location(outer: Scope, directive: Directive) -> None:
    """Read ``location { }`` of a server or of another location."""
    found = _modifier(outer, directive)
    if found is None:
        return
    modifier, name = found
    if outer.kind == "location" and not _nested(outer, modifier, name, directive):
        return
    table = gen.Route(path=name)
    if modifier:
        table.match = _MATCH[modifier]  # type: ignore[assignment]
    if outer.table.route is UNSET:
        outer.table.route = []
    path: places.Path = (*outer.path, "route", len(outer.table.route))
    scope = Scope("location", outer.state, table, path, parent=outer)
    if (name.startswith("@") or modifier in ("~", "~*")) and any(
        (route.path, route.match) == (name, table.match) for route in outer.table.route
    ):
        scope.warn(directive.token, f'no request gets here: "{name}" stands above already')
        scope.path = (*outer.path, "unreached", directive.token.line)
    else:
        outer.table.route.append(table)
    outer.state.places[scope.path] = directive.token
    outer.state.places[(*scope.path, "path")] = directive.args[-1]
    scope.finish.append(lambda: _answer(scope, directive))
    read(directive.block or [], scope)


def _modifier(outer: Scope, directive: Directive) -> tuple[str, str] | None:
    """Return the modifier of a location, which may stand before its name without a space, and the name."""
    words = directive.words
    if len(words) == _MODIFIED:
        if words[0] not in _MATCH:
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
    if outer.table.match == "exact":
        outer.error(directive.token, f'"{name}" cannot be inside the exact location "{around}"')
    elif around.startswith("@"):
        outer.error(directive.token, f'"{name}" cannot be inside the named location "{around}"')
    elif not modifier and name.startswith("@"):
        outer.error(directive.token, f'the named location "{name}" can stand in a server only')
    elif modifier not in ("~", "~*") and not name.startswith(around):
        outer.error(directive.args[-1], f'the location "{name}" is outside of the location "{around}" around it')
    else:
        return True
    return False


def _answer(scope: Scope, directive: Directive) -> None:
    """Settle what answers a location: the handler of a directive, else files, unless a `return` comes before both."""
    table = scope.table
    if not written(table, _HANDLERS) and not _returns(table):
        _answer_with_files(scope, directive)


def _returns(table: gen.Route) -> bool:
    """Whether every request is answered by a `return`: nothing before it ends the steps or leads elsewhere."""
    steps = [] if table.rewrite is UNSET else table.rewrite
    first = next((step for step in steps if step.set is UNSET), None)
    return first is not None and first.return_ is not UNSET


def _answer_with_files(scope: Scope, directive: Directive) -> None:
    scope.table.files = files_of(scope)
    holder = scope.holder("root")
    token = directive.token if holder is None or holder is not scope else holder.tokens["root"]
    scope.state.places.setdefault((*scope.path, "files"), token)


def if_block(outer: Scope, directive: Directive, table: gen.If, path: places.Path) -> None:
    """Read the block of an ``if``, whose step stands among those of the block around it already."""
    kind = "server_if" if outer.kind in ("server", "server_if") else "location_if"
    scope = Scope(kind, outer.state, table, path, parent=outer)
    if kind == "location_if":
        scope.finish.append(lambda: _answer_if(scope, directive))
    read(directive.block or [], scope)


def _answer_if(scope: Scope, directive: Directive) -> None:
    """Give the block of an ``if`` files of its own where it says something about them; else what is around answers."""
    around: Scope | None = scope
    while around is not None and around.kind in ("location_if", "location"):
        if written(around.table, _HANDLERS):
            return
        around = around.parent if around.kind == "location_if" else None
    if any(name in scope.values for name in _FILES):
        _answer_with_files(scope, directive)


def limit_except(outer: Scope, directive: Directive) -> None:
    """Read ``limit_except METHOD… { }`` of a location."""
    table = gen.LimitExcept(methods=[])
    path: places.Path = (*outer.path, "limit_except")
    for arg in directive.args:
        if arg.text not in _METHODS:
            outer.error(arg, f'invalid method "{arg.text}": {", ".join(_METHODS)} are known')
        table.methods.append(arg.text)
    outer.table.limit_except = table
    outer.state.places[path] = directive.token
    read(directive.block or [], Scope("limit_except", outer.state, table, path, parent=outer))
