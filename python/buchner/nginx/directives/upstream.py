"""ngx_http_upstream_module: groups of servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.config.suggest import hint
from buchner.nginx import units
from buchner.nginx.reader import read
from buchner.nginx.rows import (
    HTTP,
    NUMBER,
    TIME,
    WORD,
    WORDS,
    Handler,
    no_effect,
    put,
    put_time,
    refused,
    supported,
    words,
)
from buchner.nginx.scope import Scope

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive

MODULE = "ngx_http_upstream_module"
_LATER = ("resolve", "slow_start", "route", "service", "drain")
_KNOWN = ("weight", "max_conns", "max_fails", "fail_timeout", "backup", "down")
_WITH_BACKUPS = (UNSET, "least_conn")
_KEEPALIVE = 32
_KEEPALIVE_REQUESTS = 1000
_KEEPALIVE_TIME = 3600


def _upstream(http: Scope, directive: Directive) -> None:
    name = directive.words[0]
    known = http.table.upstream
    if name in known:
        http.error(directive.args[0], f'the upstream "{name}" is defined already')
        return
    known[name] = gen.Upstream(
        servers=[], keepalive=_KEEPALIVE, keepalive_requests=_KEEPALIVE_REQUESTS, keepalive_time=_KEEPALIVE_TIME
    )
    scope = Scope("upstream", http.state, known[name], ("upstream", name), parent=http)
    http.state.places[scope.path] = directive.args[0]
    read(directive.block or [], scope)
    servers = known[name].servers
    if servers and all(server.backup is True for server in servers):
        http.error(directive.args[0], f'the upstream "{name}" has servers in reserve (backup) only')


def _server(scope: Scope, directive: Directive) -> None:
    server = gen.UpstreamServer(address=directive.words[0])
    for arg in directive.args[1:]:
        name, equals, value = arg.text.partition("=")
        if arg.text == "backup" and scope.table.balance not in _WITH_BACKUPS:
            scope.error(arg, f'"backup" does not go with the balance above it ("{scope.table.balance}")')
        elif arg.text in ("backup", "down"):
            setattr(server, name, True)
        elif name in ("weight", "max_conns", "max_fails") and value.isdecimal():
            setattr(server, name, int(value))
        elif name == "fail_timeout" and equals:
            try:
                server.fail_timeout = units.milliseconds(value, seconds=True) / 1000
            except ValueError as error:
                scope.error(arg, str(error))
        elif name in _LATER:
            scope.refuse(arg, name, "it is not supported yet for the server of an upstream")
        elif name in _KNOWN:
            scope.error(arg, f'"{arg.text}" is not a valid "{name}"')
        else:
            scope.error(arg, f'unknown parameter "{arg.text}" of an upstream server{hint(name, _KNOWN)}')
    scope.state.places[(*scope.path, "servers", len(scope.table.servers))] = directive.args[0]
    scope.table.servers.append(server)


def _balance(scope: Scope, word: str) -> None:
    """Set how servers are chosen; the last directive that does so counts, as in nginx."""
    scope.table.balance = word
    scope.table.key = UNSET


def _plain(word: str) -> Handler:
    """Return the handler of a balance without arguments."""

    def handle(scope: Scope, directive: Directive) -> None:
        del directive
        _balance(scope, word)

    return handle


def _hash(scope: Scope, directive: Directive) -> None:
    consistent = len(directive.args) > 1
    if consistent and directive.words[1] != "consistent":
        scope.error(directive.args[1], f'unknown parameter "{directive.words[1]}" of "hash"; "consistent" is one')
        return
    _balance(scope, "consistent_hash" if consistent else "hash")
    scope.table.key = directive.words[0]
    scope.state.places[(*scope.path, "key")] = directive.args[0]


def _random(scope: Scope, directive: Directive) -> None:
    args = directive.words
    if args and args[0] != "two":
        scope.error(directive.args[0], f'unknown parameter "{args[0]}" of "random"; "two" is one')
    elif len(args) > 1 and args[1].startswith("least_time"):
        scope.refuse(directive.args[1], args[1], "it is not supported yet; least_conn is")
    elif len(args) > 1 and args[1] != "least_conn":
        scope.error(directive.args[1], f'unknown parameter "{args[1]}" of "random two"; "least_conn" is one')
    else:
        _balance(scope, "random_two" if args else "random")


def _keepalive(scope: Scope, directive: Directive) -> None:
    try:
        scope.put("keepalive", units.number(directive.words[0]), directive.args[0])
    except ValueError as error:
        scope.error(directive.args[0], str(error))
    if len(directive.args) > 1 and directive.words[1] != "local":
        scope.error(directive.args[1], f'unknown parameter "{directive.words[1]}" of "keepalive"')


_KEEPALIVE_NOTE = "upstream.keepalive; without it 32, as in nginx from 1.29.7"
_LATER_BALANCE = "this way of balancing is not supported yet. Without the directive, the servers take turns"

DIRECTIVES = [
    supported("upstream", HTTP, WORD, _upstream, "[upstream.NAME]", repeat=True, block=True),
    supported("server", "upstream", WORDS, _server, "upstream.servers", repeat=True),
    supported("keepalive", "upstream", words(1, 2), _keepalive, _KEEPALIVE_NOTE),
    supported("keepalive_timeout", "upstream", TIME, put_time("keepalive_timeout"), "upstream.keepalive_timeout"),
    supported("keepalive_requests", "upstream", NUMBER, put("keepalive_requests"), "upstream.keepalive_requests"),
    supported("keepalive_time", "upstream", TIME, put_time("keepalive_time"), "upstream.keepalive_time"),
    supported("least_conn", "upstream", words(0), _plain("least_conn"), 'upstream.balance = "least_conn"'),
    supported("ip_hash", "upstream", words(0), _plain("ip_hash"), 'upstream.balance = "ip_hash"'),
    supported("hash", "upstream", words(1, 2), _hash, 'upstream.balance = "hash" or "consistent_hash", upstream.key'),
    supported("random", "upstream", words(0, 2), _random, 'upstream.balance = "random" or "random_two"'),
    *no_effect("zone", "upstream", words(1, 2), "the state of servers is shared by all threads anyway"),
    *refused("least_time sticky", "upstream", _LATER_BALANCE),
    *refused(
        "state ntlm queue resolver resolver_timeout",
        "upstream",
        "it is not supported yet",
    ),
]
