"""nginx.conf to the document of gateway.toml, with nginx's defaults, and from there to the plan."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.config import addresses
from buchner.config.overrides import OverriddenPlaces, merged
from buchner.config.places import Report, dotted, sorted_problems
from buchner.config.resolve import Resolver
from buchner.config.suggest import closest
from buchner.config.upstreams import HTTP, implied
from buchner.errors import ConfigError, Problem
from buchner.nginx import blocks
from buchner.nginx.directives import ROWS
from buchner.nginx.files import default_root
from buchner.nginx.inherit import settle
from buchner.nginx.lexer import Token
from buchner.nginx.parser import Parser
from buchner.nginx.reader import read
from buchner.nginx.scope import Scope, State
from buchner.nginx.told import told

if TYPE_CHECKING:
    from pathlib import Path

    from buchner.config import places
    from buchner.config.model import Loaded
    from buchner.nginx.lexer import Source
    from buchner.nginx.parser import Directive

_HTTP_PORT = 80
_HTTPS_PORT = 443
_VARIABLE = re.compile(r'(?:unknown variable )?"\$(\w+)"')
_TYPES = {"html": "text/html", "gif": "image/gif", "jpg": "image/jpeg"}


def load_nginx(path: Path, text: str, overrides: dict[str, Any] | None = None) -> Loaded:
    """Load nginx.conf.

    Args:
        path: the file.
        text: its text.
        overrides: settings in the shape of gateway.toml that win over the file's.

    Raises:
        ConfigError: it cannot be used; every problem with its place.

    """
    return resolve(adapt(path, text), overrides)


@dataclass(frozen=True, slots=True)
class Adapted:
    """nginx.conf as a document, before it is resolved.

    Args:
        path: the file.
        state: the document, the problems, and where everything stands.
        main: the outermost block.
        directives: what the file says, includes carried out.
        sources: the files read, by name, the main one first.
        unread: problems about files that cannot be read.
    """

    path: Path
    state: State
    main: Scope
    directives: list[Directive]
    sources: dict[str, Source]
    unread: list[Problem]


@dataclass(frozen=True, slots=True)
class Options:
    """How to read a file.

    Args:
        prefix: directory that relative names start from, those of includes aside; None: the file's own.
        strict: only what nginx itself takes: `http { }` has to stand around servers.
        before: directives of the main context that stand before the file's (nginx: -g).
        access_log: where requests are logged if the file says nothing of it; by default, whoever starts it sees them.
    """

    prefix: Path | None = None
    strict: bool = False
    before: str = ""
    access_log: str = "-"


def adapt(path: Path, text: str, options: Options = Options()) -> Adapted:
    """Read nginx.conf into a document; problems are collected, not raised."""
    base = path.resolve().parent
    parser = Parser(base)
    first = parser.parse("command line", options.before) if options.before else []
    parser.sources.clear()
    directives = [*first, *parser.parse(str(path), text)]
    prefix = options.prefix or base
    root = default_root(prefix, given=options.prefix is not None)
    state = State(defaults(prefix, base, root), ROWS, base, prefix, root, options.access_log)
    state.problems += parser.problems
    main = Scope("main", state, state.document, ())
    if options.strict:
        read(directives, main)
    else:
        _main(directives, main)
    settle(main)
    _imply_upstreams(state)
    if not state.document.server and not state.problems:
        state.problems.append(Problem('no "server" block: nothing is listened on', file=str(path)))
    return Adapted(path, state, main, directives, parser.sources, parser.unread)


def resolve(adapted: Adapted, overrides: dict[str, Any] | None = None) -> Loaded:
    """Return the plan of a file that was read.

    Raises:
        ConfigError: see `load_nginx`.

    """
    try:
        return _resolved(adapted, overrides)
    except ConfigError as error:
        raise ConfigError(told(error.problems, adapted.sources.values(), adapted.unread)) from None


def _resolved(adapted: Adapted, overrides: dict[str, Any] | None) -> Loaded:
    state = adapted.state
    if state.problems and not state.document.server:
        raise ConfigError(sorted_problems(state.problems))
    report = Report(NginxPlaces(state.places, str(adapted.path)), lenient=True)
    report.errors += state.problems
    report.warnings += state.warnings
    document = state.document
    if overrides:
        report.places = OverriddenPlaces(report.places, overrides)
        document = msgspec.convert(merged(msgspec.to_builtins(document), overrides), gen.Document)
    files = [FilePath(name) for name in adapted.sources]
    resolver = Resolver(document, state.prefix, report)
    if state.root not in state.roots:
        resolver.contents.expect(state.root)
    return replace(resolver.resolve(), files=files)


def defaults(prefix: Path, base: Path, root: str) -> gen.Document:
    """Return a document with those of nginx's defaults that are not Buchner's.

    Args:
        prefix: directory that relative names start from.
        base: directory that relative names of files of users start from.
        root: the default root.

    """
    return gen.Document(
        gateway=gen.Gateway(conditions="nginx", wording="nginx", users_prefix=UNSET if base == prefix else str(base)),
        bare_lf=True,
        upstream_bare_lf=True,
        large_fields_status=494,
        keepalive_disable=["msie6"],
        server_tokens=True,
        max_body="1m",
        connect_timeout=60,
        forwarded_headers=False,
        ignore_invalid_headers=True,
        keepalive_time=3600,
        log_not_found=True,
        limit_req_status=503,
        limit_conn_status=503,
        max_fields=512,
        absolute_redirect=True,
        types=dict(_TYPES),
        built_in_types=False,
        default_type="text/plain",
        root=root,
        proxy_redirect=[gen.Replace(from_="default")],
        proxy_next_upstream=["error", "timeout"],
        server=[],
        upstream={},
    )


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
                return _meant(token, message).problem(message)
        return Problem(message, where=dotted(path), file=self.name)


def _meant(token: Token, message: str) -> Token:
    """Return the part of a token that a message begins with naming: the variable in a longer text."""
    variable = _VARIABLE.match(message)
    if variable is None:
        return token
    text = token.source.text
    found = re.compile(rf"\$(?:{variable[1]}\b|\{{{variable[1]}\}})").search(text, token.start, token.end)
    return token if found is None else Token(found[0], False, token.source, found.start(), found.end())


def _main(directives: list[Directive], main: Scope) -> None:
    """Read the file; without `http { }` around them, servers may stand at the top."""
    if any(directive.name == "http" for directive in directives):
        read(directives, main)
        return
    outer = [directive for directive in directives if _is_main(directive)]
    read(outer, main)
    blocks.http_scope(main, [directive for directive in directives if not _is_main(directive)])


def _is_main(directive: Directive) -> bool:
    return any("main" in row.contexts for row in ROWS.by_name.get(directive.name, []))


def _imply_upstreams(state: State) -> None:
    """Define the servers that proxy_pass names without an upstream: no keep-alive, and Host as nginx sends it."""
    upstreams = state.document.upstream
    if upstreams is UNSET:
        return
    groups = set(upstreams)
    for authority, tls, language in sorted(state.proxied):
        if authority in groups:
            continue
        if authority.startswith("unix:"):
            name = implied(authority, tls=tls, language=language)
            upstreams[name] = gen.Upstream(servers=[authority], host="localhost", keepalive=0)
            continue
        try:
            host, port = addresses.split(authority)
        except ValueError:
            continue  # the resolver reports it, with the place
        if host in groups:
            state.problems.append(
                state.proxied[authority, tls, language].problem(f'the upstream "{host}" has no port: take it out')
            )
            continue
        if port is None and "." not in host and closest(host, upstreams):
            continue
        shown = host if port in (None, _HTTPS_PORT if tls else _HTTP_PORT) else authority
        address = f"{authority}:{_HTTPS_PORT}" if tls and port is None else authority
        name = authority if (tls, language) == (False, HTTP) else implied(authority, tls=tls, language=language)
        upstreams[name] = gen.Upstream(servers=[address], host=shown, keepalive=0)
