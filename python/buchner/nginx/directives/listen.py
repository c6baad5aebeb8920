"""``listen``: an address of a server and its options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

_LATER = {
    "ssl": "TLS is not supported yet",
    "http2": "HTTP/2 is not supported yet",
    "quic": "HTTP/3 is not supported yet",
    "proxy_protocol": "the PROXY protocol is not supported yet",
}
_TUNING = [
    "bind",
    "deferred",
    "reuseport",
    "setfib",
    "fastopen",
    "rcvbuf",
    "sndbuf",
    "accept_filter",
    "so_keepalive",
    "multipath",
    "ipv6only=on",
]


def listen(scope: Scope, directive: Directive) -> None:
    """Put an address into the server's list."""
    address = directive.words[0]
    if not address.startswith("unix:") and not address.isdecimal() and ":" not in address.rpartition("]")[2]:
        address += ":80"
    options = []
    for arg in directive.args[1:]:
        name, _, value = arg.text.partition("=")
        if arg.text in ("default_server", "default"):
            options.append("default_server")
        elif name == "backlog":
            options.append(f"backlog={value}")
        elif name in _LATER:
            scope.refuse(arg, f"listen … {name}", _LATER[name])
        elif name not in _TUNING and arg.text not in _TUNING:
            scope.error(arg, f'unknown parameter "{arg.text}" of "listen"')
    addresses = [] if scope.table.listen is UNSET else scope.table.listen
    scope.table.listen = [*addresses, " ".join([address, *options])]
    scope.state.places[(*scope.path, "listen", len(addresses))] = directive.args[0]
    scope.state.places.setdefault((*scope.path, "listen"), directive.token)
