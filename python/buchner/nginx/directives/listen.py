"""``listen``: an address of a server and its options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.nginx import units

if TYPE_CHECKING:
    from collections.abc import Callable

    from buchner.nginx.lexer import Token
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

_LATER = {
    "ssl": "TLS is not supported yet",
    "http2": "HTTP/2 is not supported yet",
    "quic": "HTTP/3 is not supported yet",
    "proxy_protocol": "the PROXY protocol is not supported yet",
    "setfib": "routing tables of sockets are FreeBSD's",
}
_TUNING = ("bind", "deferred", "reuseport", "multipath", "ipv6only=on")


_PORT_MAX = 65535
_PLAIN = ("default_server", "default", *_LATER)
"""Options that say nothing of the socket."""
_NO_DUAL = "an IPv6 socket takes no IPv4 clients; add a second listen for them"


def _ports(address: str) -> list[str]:
    """Take a range of ports apart: ``127.0.0.1:8000-8001`` is two addresses.

    Raises:
        ValueError: the range ends before it begins, or has a port that is none.

    """
    host, colon, ports = address.rpartition(":")
    first, dash, last = ports.partition("-")
    if address.startswith("unix:") or not dash or not (colon or first.isdecimal()):
        return [address]
    for port in (first, last):
        if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= _PORT_MAX):
            raise ValueError(f'"{address}" has no valid range of ports: two numbers from 1 to 65535 are one')
    if int(first) > int(last):
        raise ValueError(f'"{address}" has no valid range of ports: it ends before it begins')
    return [f"{host}{colon}{port}" for port in range(int(first), int(last) + 1)]


def _keepalive(text: str) -> None:
    if text in ("on", "off"):
        return
    idle, _, rest = text.partition(":")
    interval, _, count = rest.partition(":")
    found = [units.milliseconds(time, seconds=True) for time in (idle, interval) if time]
    if count:
        found.append(units.number(count))
    if not any(found):
        raise ValueError(f'"{text}" is no value of so_keepalive: on, off and idle:interval:count are')


_VALUES: dict[str, Callable[[str], object]] = {
    "rcvbuf": units.size,
    "sndbuf": units.size,
    "fastopen": units.number,
    "so_keepalive": _keepalive,
}


def _option(scope: Scope, arg: Token) -> str | None:
    """Judge an option; returned is what of it goes into the configuration."""
    name, _, value = arg.text.partition("=")
    if arg.text in ("default_server", "default"):
        return "default_server"
    if name == "backlog":
        return f"backlog={value}"
    if name in _LATER:
        scope.refuse(arg, f"listen … {name}", _LATER[name])
    elif arg.text == "ipv6only=off":
        scope.refuse(arg, "listen … ipv6only=off", _NO_DUAL)
    elif name == "accept_filter" and value:
        scope.warn(arg, f'"{arg.text}" has no effect: accept filters are FreeBSD\'s')
    elif name in _VALUES:
        try:
            _VALUES[name](value)
        except ValueError as error:
            scope.error(arg, str(error))
    elif arg.text not in _TUNING:
        scope.error(arg, f'unknown parameter "{arg.text}" of "listen"')
    return None


def _only_once(scope: Scope, directive: Directive, address: str) -> None:
    """Note that options of a socket stand at an address that has some already, in any server."""
    options = [arg for arg in directive.args[1:] if arg.text.partition("=")[0] not in _PLAIN]
    if not options:
        return
    host, _, port = address.rpartition(":")
    first = scope.state.sockets.setdefault(f"{'*' if host == '0.0.0.0' else host or '*'}:{port}", directive.token)
    if first is not directive.token:
        scope.error(
            options[0], f'options of "{address}" stand in line {first.line} already, and in one place they have to'
        )


def listen(scope: Scope, directive: Directive) -> None:
    """Put an address, or each of a range of ports, into the server's list."""
    address = directive.words[0]
    try:
        ports = _ports(address)
    except ValueError as error:
        scope.error(directive.args[0], str(error))
        return
    bare = ports == [address] and not address.startswith("unix:") and not address.isdecimal()
    if bare and ":" not in address.rpartition("]")[2]:
        ports = [f"{address}:80"]
    for port in ports:
        if port.rpartition(":")[2] == "0" and not port.startswith("unix:"):
            scope.error(directive.args[0], f'"{port}" has no valid port: a number from 1 to {_PORT_MAX} is one')
        _only_once(scope, directive, port)
    options = [option for arg in directive.args[1:] if (option := _option(scope, arg)) is not None]
    addresses = [] if scope.table.listen is UNSET else scope.table.listen
    scope.table.listen = [*addresses, *(" ".join([port, *options]) for port in ports)]
    for index in range(len(addresses), len(scope.table.listen)):
        scope.state.places[(*scope.path, "listen", index)] = directive.args[0]
    scope.state.places.setdefault((*scope.path, "listen"), directive.token)
