"""ngx_http_realip_module: proxies in front that say who the client is."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from buchner.config import _generated as gen
from buchner.config.maps import network_problem
from buchner.nginx.rows import FLAG, HTTP_SERVER_LOCATION, WORD, supported

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_realip_module"
_NAMES = ("set_real_ip_from", "real_ip_header", "real_ip_recursive")


def _note(scope: Scope, directive: Directive) -> None:
    if not any(name in scope.values for name in _NAMES):
        scope.finish.append(lambda: _finish(scope))
    scope.tokens.setdefault(directive.name, directive.args[0])
    scope.state.places.setdefault((*scope.path, "real_ip"), directive.token)


def _set_real_ip_from(scope: Scope, directive: Directive) -> None:
    _note(scope, directive)
    networks = scope.values.setdefault("set_real_ip_from", [])
    word = directive.words[0]
    if word == "unix:":
        networks.append("unix")
    elif network_problem(word) is None:
        networks.append(word)
    else:
        # A name stands for the addresses it has now, as in nginx.
        try:
            found = {entry[4][0] for entry in socket.getaddrinfo(word, None, type=socket.SOCK_STREAM)}
        except (OSError, UnicodeError):
            scope.error(directive.args[0], f'"{word}" is not an address, a network, "unix:" or a name that is found')
            return
        networks += sorted(map(str, found))


def _real_ip_header(scope: Scope, directive: Directive) -> None:
    _note(scope, directive)
    scope.values["real_ip_header"] = directive.words[0]


def _real_ip_recursive(scope: Scope, directive: Directive) -> None:
    _note(scope, directive)
    scope.values["real_ip_recursive"] = directive.values[0]


def _finish(scope: Scope) -> None:
    """Put together what the block and those around it say."""
    networks = scope.value("set_real_ip_from")
    if networks:
        scope.table.real_ip = gen.RealIp(
            from_=networks,
            header=scope.value("real_ip_header", "X-Real-IP"),
            recursive=scope.value("real_ip_recursive", False),
        )


DIRECTIVES = [
    supported("set_real_ip_from", HTTP_SERVER_LOCATION, WORD, _set_real_ip_from, "real_ip.from", repeat=True),
    supported("real_ip_header", HTTP_SERVER_LOCATION, WORD, _real_ip_header, "real_ip.header"),
    supported("real_ip_recursive", HTTP_SERVER_LOCATION, FLAG, _real_ip_recursive, "real_ip.recursive"),
]
