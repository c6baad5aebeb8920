"""What is listened on, and which server answers for which name there."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from buchner.config import addresses
from buchner.config.sockets import SocketOptions

if TYPE_CHECKING:
    from buchner.config.addresses import Listening
    from buchner.config.places import Path, Report

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_NAME = re.compile(rf"(?:\*\.|\.)?{_LABEL}(?:\.{_LABEL})*\.?|{_LABEL}(?:\.{_LABEL})*\.\*|\[[0-9a-f:.]+\]")
_CATCH_ALL = ("", "_")


def _hostname() -> str:
    """Return the name of this machine, which `$hostname` stands for."""
    return socket.gethostname().lower()


def _punycode(name: str) -> str:
    try:
        return f'"{name.encode("idna").decode()}"'
    except UnicodeError:
        return "ASCII"


@dataclass(slots=True)
class _Listener:
    address: str
    index: int
    first: int
    default: int | None = None
    names: dict[str, int] = field(default_factory=dict)
    servers: set[int] = field(default_factory=set)
    proxy_protocol: bool = False
    tls: bool = False
    http2: bool = False
    place: Path = ()
    """The first `listen` of the address …"""
    plain: Path = ()
    """… the first without `proxy_protocol` …"""
    clear: Path = ()
    """… and the first without `tls`."""


class Listeners:
    """The plan's `listen`.

    Args:
        report: takes the problems.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self._all: dict[str, _Listener] = {}
        self._limits: list[dict[str, Any]] = []
        self._certified: set[int] = set()
        self._wild: list[tuple[int, Path, str]] = []
        self.sockets: dict[str, SocketOptions] = {}

    def add(
        self, server: int, listen: list[str], names: list[str], *, default: bool, limits: dict[str, Any]
    ) -> tuple[list[int], list[str]]:
        """Take a server's addresses and names.

        Returns:
            Indices into the plan's `listen`, and the names in lower case.

        """
        self._limits.append(limits)
        lowered = []
        for position, name in enumerate(names):
            lower = _hostname() if name == "$hostname" else name if name.startswith("~") else name.lower()
            if self._check_name(lower, server, position):
                lowered.append(lower)
        indices: list[int] = []
        for position, text in enumerate(listen):
            try:
                found = addresses.listening(text)
            except ValueError as error:
                self.report.error(("server", server, "listen", position), str(error))
                continue
            address = found.address
            if address not in self._all:
                place = ("server", server, "listen", position)
                self._all[address] = _Listener(address, len(self._all), server, place=place)
            index = self._all[address].index
            if index in indices:
                self.report.error(("server", server, "listen", position), f'"{text}" is listened on twice')
                continue
            indices.append(index)
            self._join(self._all[address], server, lowered, default=default or found.default)
            self._open(self._all[address], found, ("server", server, "listen", position))
        if not listen:
            self.report.error(("server", server, "listen"), "the list of addresses is empty")
        return indices, lowered

    def _join(self, listener: _Listener, server: int, names: list[str], *, default: bool) -> None:
        if default:
            if listener.default not in (None, server):
                message = f"server[{listener.default}] is the default of {listener.address} already"
                self.report.error(("server", server, "default_server"), message)
            listener.default = server
        listener.servers.add(server)
        for name in names:
            first = listener.names.setdefault(name, server)
            if first != server and name not in _CATCH_ALL:
                message = f'"{name}" on {listener.address} is answered by server[{first}]; it is ignored here'
                self.report.warn(("server", server, "names"), message)

    def _open(self, listener: _Listener, found: Listening, place: Path) -> None:
        """Take the options of an address, which are the same for all its servers."""
        listener.http2 |= found.http2
        if found.proxy_protocol:
            listener.proxy_protocol = True
        else:
            listener.plain = listener.plain or place
        if found.tls:
            listener.tls = True
        else:
            listener.clear = listener.clear or place
        if found.socket == SocketOptions():
            return
        if self.sockets.setdefault(listener.address, found.socket) != found.socket:
            message = f"{listener.address} has other options already; they are given once for all its servers"
            self.report.error(place, message)

    def certify(self, server: int, indices: list[int]) -> None:
        """Note that a server has a TLS policy."""
        self._certified.add(server)
        listeners = list(self._all.values())
        if not any(listeners[index].tls for index in indices):
            message = 'none of its addresses has TLS: write listen = "443 tls"'
            self.report.warn(("server", server, "tls"), message)

    def check(self) -> None:
        """Report what single addresses cannot show."""
        crowded = {
            server for listener in self._all.values() if len(listener.servers) > 1 for server in listener.servers
        }
        for server, place, message in self._wild:
            # nginx looks at names where there are servers to tell apart.
            (self.report.error if server in crowded or message.startswith('"*') else self.report.slip)(place, message)
        for address, listener in self._all.items():
            if listener.proxy_protocol and listener.plain:
                message = f"{address} is listened on with proxy_protocol elsewhere, so it holds here too"
                self.report.warn(listener.plain, message)
            if listener.tls and listener.clear:
                message = f"{address} is listened on with tls elsewhere, so it holds here too"
                self.report.warn(listener.clear, message)
            server = listener.first if listener.default is None else listener.default
            if listener.tls and server not in self._certified:
                message = (
                    f"{address} has TLS, and its default server has no certificate: give it a [server.tls] "
                    '(nginx: no "ssl_certificate" is defined)'
                )
                self.report.error(("server", server), message)
            dual = self._dual(address)
            if dual is not None:
                message = f"{dual} with ipv6only=off takes the IPv4 clients of this port, too: one of the two must go"
                self.report.error(listener.place, message)

    def _dual(self, address: str) -> str | None:
        """Return the address of all IPv6 and IPv4 clients that leaves no room for this one of IPv4 clients."""
        if address.startswith(("unix:", "[")):
            return None
        wide = f"[::]:{addresses.split(address)[1]}"
        options = self.sockets.get(wide)
        return wide if options is not None and not options.ipv6only else None

    def _check_name(self, name: str, server: int, position: int) -> bool:
        """Whether a name is one that requests can have; if not, that is noted."""
        if name in _CATCH_ALL or _NAME.fullmatch(name) or name.startswith("~"):
            return True
        message = f'"{name}" is not a server name'
        if "/" in name:
            message += ": a name is wanted, not a URL"
        elif ":" in name:
            message += ": the port belongs in `listen`"
        elif "*" in name:
            message = f'"{name}": a "*" stands for whole labels at one end: *.example.com or www.example.*'
            self._wild.append((server, ("server", server, "names", position), message))
            return False
        elif not name.isascii():
            message += f": clients send it as {_punycode(name)}"
        self.report.slip(("server", server, "names", position), message)
        return False

    def _around(self, address: str) -> int | None:
        """Return the index of the listener of all addresses that takes the connections to this one too."""
        if address.startswith("unix:"):
            return None
        host, port = addresses.split(address)
        wide = f"[::]:{port}" if host.startswith("[") else f"0.0.0.0:{port}"
        return self._all[wide].index if wide != address and wide in self._all and port else None

    def plan(self) -> list[dict[str, Any]]:
        """Return the plan's `listen`."""
        found = []
        for listener in self._all.values():
            server = listener.first if listener.default is None else listener.default
            entry: dict[str, Any] = {"address": listener.address, "default_server": server}
            if listener.proxy_protocol:
                entry["proxy_protocol"] = True
            if listener.tls:
                entry["tls"] = True
            if listener.http2:
                entry["http2"] = True
            if (around := self._around(listener.address)) is not None:
                entry["within"] = around
            if self._limits[server]:
                entry["limits"] = self._limits[server]
            found.append(entry)
        return found

    def addresses(self) -> list[str]:
        """Return the addresses that are bound, in the order of the plan."""
        return [address for address in self._all if self._around(address) is None]

    def encrypted(self) -> frozenset[str]:
        """Return the addresses that have TLS."""
        return frozenset(address for address, listener in self._all.items() if listener.tls)
