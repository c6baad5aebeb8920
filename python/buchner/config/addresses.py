"""Addresses: what is listened on, and the servers of upstreams."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from buchner.config import sockets
from buchner.config.sockets import SocketOptions

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_PORT_MAX = 65535
_WORDS = ("default_server", "proxy_protocol", "tls", "http2")
_OPTIONS = ", ".join([*_WORDS, *sockets.FLAGS, *(f"{name}=" for name in sockets.VALUES)])


@lru_cache(4096)
def split(text: str) -> tuple[str, int | None]:
    """Split ``host:port``, ``[v6]:port``, ``host`` into the host as written and the port.

    Raises:
        ValueError: it is no address.

    """
    if text.startswith("["):
        inside, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f'"{text}" is not an address: an IPv6 address is written [::1]:80')
        try:
            address = ipaddress.IPv6Address(inside)
        except ValueError:
            raise ValueError(f'"{inside}" is not an IPv6 address') from None
        return f"[{address}]", _port(rest[1:], text) if rest else None
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, ""
    if ":" in host:
        raise ValueError(f'"{text}" is not an address: an IPv6 address is written [::1]:80')
    _check_host(host, text)
    return host, _port(port, text) if colon else None


def _check_host(host: str, text: str) -> None:
    if re.fullmatch(r"[\d.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise ValueError(f'"{host}" is not an IPv4 address') from None
    elif not _HOST.fullmatch(host):
        raise ValueError(f'"{text}" is not an address: host:port, [v6]:port or unix:/path is')


def _port(text: str, whole: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= _PORT_MAX:
        raise ValueError(f'"{whole}" has no valid port: a number up to 65535 is one')
    return int(text)


def listen(text: str) -> str:
    """Return a listening address in its normal form: ``0.0.0.0:80`` for ``80``, ``:80`` and ``*:80``.

    Raises:
        ValueError: it is no address; the message says what is.

    """
    text = text.strip()
    if text.startswith("unix:"):
        return unix(text)
    if text.isdecimal():
        text = f":{text}"
    if text.startswith((":", "*:")):
        text = "0.0.0.0:" + text.rpartition(":")[2]
    host, port = split(text)
    if port is None:
        raise ValueError(f'"{text}" has no port: write {text}:8000 for port 8000')
    return f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Listening:
    """An address with its options.

    Args:
        address: in its normal form.
        default: the server is the one for names that nobody has.
        proxy_protocol: connections begin with a header of the PROXY protocol.
        tls: connections are encrypted.
        http2: clients may speak HTTP/2, whatever the default server's settings say.
        socket: options of the kernel.

    """

    address: str
    default: bool
    proxy_protocol: bool
    tls: bool
    http2: bool
    socket: SocketOptions


@lru_cache(4096)
def listening(text: str) -> Listening:
    """Read ``0.0.0.0:80 default_server backlog=511``.

    Raises:
        ValueError: the address or an option is not valid; the message says what is.

    """
    address, *options = text.split() or [""]
    found: dict[str, Any] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if option in (*_WORDS, *sockets.FLAGS):
            found[name] = True
        elif equals and name in sockets.VALUES:
            try:
                found[name] = sockets.VALUES[name](value)
            except ValueError as error:
                raise ValueError(f'"{option}": {error}') from None
        else:
            raise ValueError(f'"{option}" is no option of an address: {_OPTIONS} are')
    address = listen(address)
    if "ipv6only" in found and not address.startswith("["):
        raise ValueError(f'"{address}" is no IPv6 address, so "ipv6only" does not go with it')
    default, proxy_protocol, tls, http2 = (bool(found.pop(word, False)) for word in _WORDS)
    return Listening(address, default, proxy_protocol, tls, http2, SocketOptions(**found))


def unix(text: str) -> str:
    """Return a Unix socket address unchanged.

    Raises:
        ValueError: it has no absolute path.

    """
    if not text.startswith("unix:/"):
        raise ValueError(f'"{text}" is not an address: a Unix socket is unix:/absolute/path')
    return text


def upstream(text: str, default_port: int = 80) -> str:
    """Return an upstream server's address with its port.

    Raises:
        ValueError: it is no address; the message says what is.

    """
    if text.startswith("unix:"):
        return unix(text)
    host, port = split(text)
    return f"{host}:{default_port if port is None else port}"
