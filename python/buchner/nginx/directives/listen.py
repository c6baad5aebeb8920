"""``listen``: an address of a server and its options."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import addresses
from buchner.nginx import units

if TYPE_CHECKING:
    from collections.abc import Callable

    from buchner.nginx.lexer import Token
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

_LATER = {
    "quic": "HTTP/3 is not supported yet",
    "setfib": "routing tables of sockets are FreeBSD's",
}


_PORT_MAX = 65535
_PLAIN = ("default_server", "default", "proxy_protocol", "ssl", "http2", *_LATER)
"""Options that say nothing of the socket."""


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


def _resolved(address: str) -> list[str]:
    """Put the addresses of a name in its place: ``localhost:80`` is two where the machine has IPv6.

    Raises:
        ValueError: there is none.

    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or host == "*" or address.startswith(("[", "unix:")) or re.fullmatch(r"[\d.]+", host):
        return [address]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ValueError(f'the name "{host}" of "listen" does not resolve') from None
    every = list(dict.fromkeys((family, str(where[0])) for family, _, _, _, where in found))
    here = [one for one in every if _is_here(*one)] or every
    return [f"[{ip}]:{port}" if family == socket.AF_INET6 else f"{ip}:{port}" for family, ip in here]


def _is_here(family: int, ip: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.bind((ip, 0))
    except OSError:
        return False
    return True


def _keepalive(text: str) -> str:
    if text in ("on", "off"):
        return text
    idle, _, rest = text.partition(":")
    interval, _, count = rest.partition(":")
    seconds = [units.milliseconds(time, seconds=True) // 1000 if time else 0 for time in (idle, interval)]
    found = [*seconds, units.number(count) if count else 0]
    if not any(found):
        raise ValueError(f'"{text}" is no value of so_keepalive: on, off and idle:interval:count are')
    return ":".join(str(number or "") for number in found)


def _positive(text: str) -> str:
    number = units.number(text)
    if number <= 0:
        raise ValueError(f'"{text}" is no number from 1')
    return str(number)


_VALUES: dict[str, Callable[[str], object]] = {
    "backlog": _positive,
    "rcvbuf": units.size,
    "sndbuf": units.size,
    "fastopen": units.number,
    "so_keepalive": _keepalive,
}
_WORDS = {
    "default_server": "default_server",
    "default": "default_server",
    "proxy_protocol": "proxy_protocol",
    "ssl": "tls",
    "http2": "http2",
    "deferred": "deferred",
    "reuseport": "reuseport",
    "multipath": "multipath",
    "ipv6only=off": "ipv6only=off",
    "ipv6only=on": "",
    # An address beside one of all addresses has no socket of its own, and answers all the same.
    "bind": "",
}


def _option(scope: Scope, arg: Token) -> str:
    """Judge an option; returned is what of it goes into the configuration."""
    name, _, value = arg.text.partition("=")
    if arg.text in _WORDS:
        return _WORDS[arg.text]
    if name in _LATER:
        scope.refuse(arg, f"listen … {name}", _LATER[name])
    elif name == "accept_filter" and value:
        scope.warn(arg, f'"{arg.text}" has no effect: accept filters are FreeBSD\'s')
    elif name in _VALUES:
        try:
            return f"{name}={_VALUES[name](value)}"
        except ValueError as error:
            scope.error(arg, str(error))
    else:
        scope.error(arg, f'unknown parameter "{arg.text}" of "listen"')
    return ""


def _with_options(address: str, options: list[str]) -> str:
    # of an address that is not IPv6's, nginx takes the option and does nothing with it
    fitting = [option for option in options if option != "ipv6only=off" or address.startswith("[")]
    return " ".join([address, *fitting])


def _normal(address: str) -> str:
    try:
        return addresses.listen(address)
    except ValueError:
        return ""  # the resolver reports it


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
        bare = ports == [address] and not address.startswith("unix:") and not address.isdecimal()
        if bare and ":" not in address.rpartition("]")[2]:
            ports = [f"{address}:80"]
        ports = [found for port in ports for found in _resolved(port)]
    except ValueError as error:
        scope.error(directive.args[0], str(error))
        return
    for port in ports:
        if port.rpartition(":")[2] == "0" and not port.startswith("unix:"):
            scope.error(directive.args[0], f'"{port}" has no valid port: a number from 1 to {_PORT_MAX} is one')
        _only_once(scope, directive, port)
    options = [option for arg in directive.args[1:] if (option := _option(scope, arg))]
    listed = [] if scope.table.listen is UNSET else scope.table.listen
    scope.table.listen = [*listed, *(_with_options(port, options) for port in ports)]
    if "tls" in options:
        scope.state.encrypted |= {found for port in ports if (found := _normal(port))}
    for index in range(len(listed), len(scope.table.listen)):
        scope.state.places[(*scope.path, "listen", index)] = directive.args[0]
    scope.state.places.setdefault((*scope.path, "listen"), directive.token)
