"""nginx.conf to the document of gateway.toml, with nginx's defaults, and from there to the plan."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.config import addresses
from buchner.config.load import OverriddenPlaces, merged
from buchner.config.places import Report, dotted, sorted_problems
from buchner.config.resolve import Resolver
from buchner.config.suggest import closest, hint
from buchner.errors import ConfigError, Problem
from buchner.nginx.directives import ROWS
from buchner.nginx.directives.log import default as default_log
from buchner.nginx.inherit import inherit
from buchner.nginx.parser import Parser
from buchner.nginx.scope import Scope, State
from buchner.nginx.unsupported import EXPLAINED, MODULE

if TYPE_CHECKING:
    from pathlib import Path

    from buchner.config import places
    from buchner.config.model import Loaded
    from buchner.nginx.lexer import Token
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Row

_BLOCKS = {
    "main": ("events", "http"),
    "http": ("server", "upstream"),
    "server": ("location",),
    "location": ("location",),
}
_REGEX = ("~", "~*")
_UPSTREAM_KEEPALIVE = 32
_HTTP_PORT = 80
_MODIFIED = 2


def load_nginx(path: Path, text: str, overrides: dict[str, Any] | None = None) -> Loaded:
    """Load nginx.conf.

    Args:
        path: the file.
        text: its text.
        overrides: settings in the shape of gateway.toml that win over the file's.

    Raises:
        ConfigError: it cannot be used; every problem with its place.

    """
    base = path.resolve().parent
    parser = Parser(base)
    directives = parser.parse(str(path), text)
    state = State(defaults())
    state.problems += parser.problems
    _main(directives, state, str(path))
    _imply_upstreams(state)
    report = Report(NginxPlaces(state.places, str(path)))
    report.errors += state.problems
    report.warnings += state.warnings
    if overrides:
        report.places = OverriddenPlaces(report.places, overrides)
        data = merged(msgspec.to_builtins(state.document), overrides)
        state.document = msgspec.convert(data, gen.Document)
    if state.problems and not state.document.server:
        raise ConfigError(sorted_problems(state.problems))
    loaded = Resolver(state.document, base, report).resolve()
    return replace(loaded, files=list(dict.fromkeys(parser.files)))


def defaults() -> gen.Document:
    """Return a document with those of nginx's defaults that are not Buchner's."""
    return gen.Document(max_body="1m", connect_timeout=60, forwarded_headers=False, server=[], upstream={})


class NginxPlaces:
    """Places in nginx.conf.

    Args:
        tokens: by path in the document.
        name: the main file.
    """

    def __init__(self, tokens: dict[places.Path, Token], name: str) -> None:
        self.tokens = tokens
        self.name = name

    def problem(self, path: places.Path, message: str, *, key: bool = False) -> Problem:
        """Return a problem at the directive a path comes from."""
        del key
        for length in range(len(path), 0, -1):
            token = self.tokens.get(path[:length])
            if token is not None:
                return token.problem(message)
        return Problem(message, where=dotted(path), file=self.name)


def _main(directives: list[Directive], state: State, name: str) -> None:
    """Read the file; without `http { }` around them, servers may stand at the top."""
    scope = Scope("main", state, state.document, ())
    blocks = [
        directive for directive in directives if directive.name in ("http", "events") and directive.block is not None
    ]
    http = [directive for directive in blocks if directive.name == "http"]
    for directive in http[1:]:
        scope.error(directive.token, '"http" stands in the file already')
    if http:
        _simple([directive for directive in directives if directive not in blocks], scope)
    else:
        inner = [directive for directive in directives if not _is_main(directive)]
        _simple([directive for directive in directives if _is_main(directive) and directive not in blocks], scope)
        _http(inner, state, scope, name)
    for directive in blocks:
        if directive.args:
            scope.error(directive.args[0], f'"{directive.name}" takes no argument')
        if directive.name == "events":
            _simple(directive.block or [], Scope("events", state, None, (), parent=scope))
        elif directive is http[0]:
            _http(directive.block or [], state, scope, name)


def _is_main(directive: Directive) -> bool:
    rows = ROWS.get(directive.name, [])
    return directive.name == "events" or any("main" in row.contexts for row in rows)


def _http(directives: list[Directive], state: State, parent: Scope, name: str) -> None:
    scope = Scope("http", state, state.document, (), parent=parent)
    blocks = _simple(directives, scope)
    default_log(scope)
    for directive in (block for block in blocks if block.name == "upstream"):
        _upstream(directive, scope)
    for directive in (block for block in blocks if block.name == "server"):
        _server(directive, scope)
    if not any(block.name == "server" for block in blocks) and not state.problems:
        state.problems.append(Problem('no "server" block: nothing is listened on', file=name))


def _simple(directives: list[Directive], scope: Scope) -> list[Directive]:
    """Handle the directives of a block that open no context; return the others."""
    blocks = []
    ordered = sorted(directives, key=lambda directive: directive.name != "log_format")
    for directive in ordered:
        if directive.block is not None and directive.name in _BLOCKS.get(scope.kind, ()):
            blocks.append(directive)
            continue
        row = _row(directive, scope)
        if row is None:
            continue
        if not row.repeat and directive.name in scope.seen:
            first = scope.seen[directive.name]
            scope.error(directive.token, f'"{directive.name}" stands in this block already, in line {first.line}')
            continue
        scope.seen[directive.name] = directive.token
        row.handler(scope, directive)
    return blocks


def _row(directive: Directive, scope: Scope) -> Row | None:
    """Return the row of a directive, or None after reporting why there is none."""
    name, token = directive.name, directive.token
    rows = ROWS.get(name, [])
    row = next((row for row in rows if scope.kind in row.contexts), None)
    if row is None:
        scope.error(token, _refusal(name, scope.kind, rows))
        return None
    if row.block != (directive.block is not None):
        scope.error(
            token, f'"{name}" needs a block in braces' if row.block else f'"{name}" has no block: end it with ";"'
        )
        return None
    least, most = row.args
    if not least <= len(directive.args) <= most:
        wanted = (
            f"{least}" if least == most else f"at least {least}" if len(directive.args) < least else f"at most {most}"
        )
        scope.error(
            token, f'"{name}" takes {wanted} argument{"" if wanted.endswith("1") else "s"}, not {len(directive.args)}'
        )
        return None
    return row


def _refusal(name: str, kind: str, rows: list[Row]) -> str:
    contexts = {context for row in rows for context in row.contexts}
    contexts |= {parent for parent, names in _BLOCKS.items() if name in names}
    if name in MODULE and kind not in contexts:
        advice = f": {EXPLAINED[name]}" if name in EXPLAINED else ""
        return f'"{name}" of nginx ({MODULE[name]}) is not supported yet{advice}'
    if contexts:
        return f'"{name}" is not allowed in "{kind}" but in {", ".join(sorted(contexts))}'
    known = [*ROWS, *MODULE, "http", "events", "server", "upstream", "location"]
    return f'unknown directive "{name}"{hint(name, known)}'


def _upstream(directive: Directive, http: Scope) -> None:
    if len(directive.args) != 1:
        http.error(directive.token, '"upstream" takes one name')
        return
    name = directive.words[0]
    known = http.table.upstream
    if name in known:
        http.error(directive.args[0], f'the upstream "{name}" is defined already')
        return
    known[name] = gen.Upstream(servers=[], keepalive=_UPSTREAM_KEEPALIVE)
    scope = Scope("upstream", http.state, known[name], ("upstream", name), parent=http)
    http.state.places[scope.path] = directive.args[0]
    for block in _simple(directive.block or [], scope):
        scope.error(block.token, f'"{block.name}" is not allowed in "upstream"')


def _server(directive: Directive, http: Scope) -> None:
    for arg in directive.args:
        http.error(arg, '"server" takes no argument')
    servers = http.table.server
    path: places.Path = ("server", len(servers))
    table = gen.Server(route=[])
    servers.append(table)
    http.state.places[path] = directive.token
    scope = Scope("server", http.state, table, path, http.files, parent=http)
    blocks = _simple(directive.block or [], scope)
    if table.listen is UNSET:
        table.listen = ["0.0.0.0:80" if os.geteuid() == 0 else "0.0.0.0:8000"]
    if table.names is UNSET:
        table.names = [""]
    answered = bool(table.route)  # by a `return` of the server itself
    for block in blocks:
        if answered and not (block.words and block.words[0].startswith("@")):
            scope.warn(block.token, 'no request gets here: "return" of the server answers before any location')
        _location(block, scope, None, dropped=answered)
    if not any(route.path == "/" and route.exact is UNSET for route in table.route or []):
        table.route = [*(table.route or []), gen.Route(path="/", files=scope.files.files(None))]
        http.state.places[(*path, "route", len(table.route) - 1)] = directive.token
    _slash_redirects(table)


def _location(directive: Directive, server: Scope, parent: Scope | None, *, dropped: bool = False) -> None:
    outer = parent or server
    words = directive.words
    modified = len(words) == _MODIFIED
    if not 1 <= len(words) <= _MODIFIED or (modified and words[0] not in ("=", "^~", *_REGEX)):
        outer.error(directive.token, '"location" takes a path, with "=" or "^~" before it if need be')
        return
    if words[0].startswith("~") or (modified and words[0] in _REGEX):
        outer.error(directive.args[0], "locations by regular expression are not supported yet")
        return
    table = gen.Route(path=words[-1])
    if modified and words[0] == "=":
        table.exact = True
    routes = server.table.route
    path: places.Path = (*server.path, "route", len(routes))
    scope = Scope("location", server.state, table, path, outer.files, parent=outer)
    if dropped and not table.path.startswith("@"):
        path = scope.path = (*server.path, "unreached", directive.token.line)
    else:
        routes.append(table)
    server.state.places[path] = directive.token
    server.state.places[(*path, "path")] = directive.args[-1]
    blocks = _simple(directive.block or [], scope)
    if parent is not None:
        inherit(parent.table, table)
    _answer(scope, directive)
    for block in blocks:
        _location(block, server, scope, dropped=dropped)


def _answer(scope: Scope, directive: Directive) -> None:
    """Settle what answers a location: `return` before all, then `proxy_pass`, else files."""
    table = scope.table
    if table.redirect is not UNSET or table.respond is not UNSET:
        table.proxy = UNSET
    elif table.proxy is UNSET:
        table.files = scope.files.files(scope.alias)
        scope.state.places.setdefault((*scope.path, "files"), directive.token)


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


def _imply_upstreams(state: State) -> None:
    """Define the servers that proxy_pass names without an upstream: no keep-alive, and Host as nginx sends it."""
    upstreams = state.document.upstream
    if upstreams is UNSET:
        return
    for authority in sorted(state.proxied - upstreams.keys()):
        if authority.startswith("unix:"):
            upstreams[authority] = gen.Upstream(servers=[authority], host="localhost", keepalive=0)
            continue
        try:
            host, port = addresses.split(authority)
        except ValueError:
            continue  # the resolver reports it, with the place
        if port is None and "." not in host and closest(host, upstreams):
            continue
        shown = host if port in (None, _HTTP_PORT) else authority
        upstreams[authority] = gen.Upstream(servers=[authority], host=shown, keepalive=0)
