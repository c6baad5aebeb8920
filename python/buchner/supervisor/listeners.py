"""Listening sockets: opened here, kept over reloads, gateways and upgrades, never on a request's path.

An address is `host:port`, `[v6]:port` or `unix:/path`; its text is the key it has in the plan. Port 0 lets the kernel
choose. Unix sockets get mode 0666, as nginx's do: what may connect is decided by the directory they are in.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from buchner.config.sockets import KeepAlive, SocketOptions
from buchner.errors import ConfigError, ListenError
from buchner.supervisor import holders

BACKLOG = 4096
"""Connections the kernel queues until they are accepted; it takes net.core.somaxconn where that is lower."""
_UNIX_MODE = 0o666
_PLAIN = SocketOptions()
_MPTCP = 262
"""IPPROTO_MPTCP (linux/in.h)."""
_PASSED = "BUCHNER_PASSED_ADDRESSES"
_FIRST_PASSED_DESCRIPTOR = 3


@dataclass(frozen=True)
class Listener:
    """A listening socket and the address it was asked for by."""

    address: str
    socket: socket.socket
    inode: tuple[int, int] | None = None
    """Device and inode of a Unix socket's file, so that only our own is removed."""

    def url(self, *, encrypted: bool = False) -> str:
        """Where a browser finds it: the real port, and this machine for addresses that mean all of its own."""
        if self.socket.family == socket.AF_UNIX:
            return f"unix:{self.socket.getsockname()}"
        host, port = self.socket.getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        scheme = "https" if encrypted else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def close(self) -> None:
        """Close the socket and remove a Unix socket's file if it is still ours."""
        if self.inode is not None:
            path = self.socket.getsockname()
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                if (status.st_dev, status.st_ino) == self.inode:
                    os.unlink(path)
        self.socket.close()


def split(address: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`.

    Raises:
        ConfigError: It is neither.
    """
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(f'"{address}": an IPv6 address goes into brackets, as in "[::1]:8000"')
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigError(f'"{address}" is not an address to listen on; write host:port, [v6]:port or unix:/path')
    return host, int(port)


def normal(text: str) -> str:
    """The full form of an address given in short: `8000`, `:8000`, `*:8000` (all of this machine's), `localhost`.

    Raises:
        ConfigError: It cannot be meant as an address.
    """
    text = text.removeprefix("http://").rstrip("/")
    if text.startswith("unix:"):
        path = (
            text.removeprefix("unix:").removeprefix("//") if text.startswith("unix:///") else text.removeprefix("unix:")
        )
        return f"unix:{os.path.abspath(path)}"
    if text.isascii() and text.isdigit():
        text = f"127.0.0.1:{text}"
    elif text.startswith("*:") or (text.startswith(":") and text.count(":") == 1):
        text = f"0.0.0.0:{text.rpartition(':')[2]}"
    elif ":" not in text:
        text = f"{text}:8000"
    split(text)
    return text


def open_listener(address: str, options: SocketOptions = _PLAIN) -> Listener:
    """Open a listening socket.

    Raises:
        ListenError: It cannot be opened; the message says why and what to do.
    """
    if address.startswith("unix:"):
        return _open_unix(address, options)
    sock = _bind(address, options)
    try:
        sock.listen(options.backlog or BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on {address}: {_why_not(error, address)}") from error
    sock.setblocking(False)
    return Listener(address, sock)


def tune(listener: Listener, options: SocketOptions) -> None:
    """Give a socket that listens already the options of a new configuration; what it does not say of sizes stays."""
    with contextlib.suppress(OSError):  # the configuration is in force, and each of them works without
        _set_options(listener.socket, options)
        listener.socket.listen(options.backlog or BACKLOG)


def _set_options(sock: socket.socket, options: SocketOptions) -> None:
    """Set what the connections inherit, and what is only for listening sockets."""
    for option, value in ((socket.SO_RCVBUF, options.rcvbuf), (socket.SO_SNDBUF, options.sndbuf)):
        if value is not None:
            sock.setsockopt(socket.SOL_SOCKET, option, value)
    if sock.family == socket.AF_UNIX:
        return
    keep = options.so_keepalive or KeepAlive(on=False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, keep.on)
    for option, value in (
        (socket.TCP_KEEPIDLE, keep.idle),
        (socket.TCP_KEEPINTVL, keep.interval),
        (socket.TCP_KEEPCNT, keep.count),
    ):
        if value is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
    if options.reuseport:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    for option, wanted in (
        (socket.TCP_DEFER_ACCEPT, int(options.deferred)),
        (socket.TCP_FASTOPEN, options.fastopen or 0),
    ):
        if wanted or sock.getsockopt(socket.IPPROTO_TCP, option):
            sock.setsockopt(socket.IPPROTO_TCP, option, wanted)


def probe(address: str, options: SocketOptions = _PLAIN) -> None:
    """Find out whether an address could be listened on; nothing is changed, and no client is accepted.

    Raises:
        ListenError: It could not; as `open_listener`.
    """
    if not address.startswith("unix:"):
        _bind(address, options).close()
        return
    path = address.removeprefix("unix:")
    folder = os.path.dirname(path)
    _is_stale(path, address)
    if not os.access(folder, os.W_OK | os.X_OK):
        missing = "" if os.path.isdir(folder) else f"there is no directory {folder}: make it"
        raise ListenError(f"cannot listen on {address}: {missing or f'this user may not write to {folder}'}")


def _bind(address: str, options: SocketOptions) -> socket.socket:
    host, port = split(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ListenError(f"cannot listen on {address}: the name {host} does not resolve ({error.strerror})") from error
    family, kind, protocol, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    try:
        sock = socket.socket(family, kind, _MPTCP if options.multipath else protocol)
    except OSError as error:
        hint = "; without Multipath TCP in the kernel leave out multipath" if options.multipath else ""
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}{hint}") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _set_options(sock, options)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, options.ipv6only)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
        sock.bind(where)
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on {address}: {_why_not(error, address, str(where[0]))}") from error
    return sock


def _why_not(error: OSError, address: str, resolved: str | None = None) -> str:
    host, port = split(address)
    if error.errno == errno.EADDRINUSE:
        return f"the port is in use{by(holders.of_port(port, {resolved or host}))} or choose another port"
    if error.errno == errno.EACCES and port < 1024:
        return (
            f"port {port} needs a privilege. Start as root (the gateway drops to `user` once it is bound), or give "
            f"CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE), or allow it to everyone with "
            f"`sysctl net.ipv4.ip_unprivileged_port_start={port}`, or choose a port from 1024 on"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no address {host}; 0.0.0.0 stands for all it has"
    return error.strerror or str(error)


def _open_unix(address: str, options: SocketOptions) -> Listener:
    path = address.removeprefix("unix:")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_stale(path, address):
            os.unlink(path)
        sock.bind(path)
        os.chmod(path, _UNIX_MODE)
        _set_options(sock, options)
        sock.listen(options.backlog or BACKLOG)
        status = os.lstat(path)
    except OSError as error:
        sock.close()
        hint = (
            "; make its directory, or one this user may write to" if error.errno in {errno.ENOENT, errno.EACCES} else ""
        )
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}{hint}") from error
    except ListenError:
        sock.close()
        raise
    sock.setblocking(False)
    return Listener(address, sock, (status.st_dev, status.st_ino))


def _is_stale(path: str, address: str) -> bool:
    """Whether there is a socket file that nobody listens on any more; one in use, or another file, is an error."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(mode):
        raise ListenError(
            f"cannot listen on {address}: there is a file of that name that is not a socket; move it away"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
    holder = by(holders.of_path(path))
    raise ListenError(f"cannot listen on {address}: the socket is in use{holder} or choose another path")


def by(holder: holders.Holder | None) -> str:
    """The end of "it is in use": by whom, and how to be rid of that one."""
    if holder is None:
        return " by a program of another user (as root, `ss -lp` names it): stop it"
    if holder.pid == 1:
        return f" by {holder}: stop its socket unit (`systemctl list-sockets` shows it)"
    return f" by {holder}: stop it (`{'buchner stop' if 'buchner' in holder.command else 'kill'} {holder.pid}`)"


@cache
def passed() -> list[Listener]:
    """The sockets of socket activation that this process was started with."""
    return passed_by_systemd(os.environ)


def passed_addresses() -> list[str]:
    """Their addresses; also after an upgrade, when the sockets have come another way."""
    if found := [listener.address for listener in passed()]:
        os.environ[_PASSED] = " ".join(found)
    return os.environ.get(_PASSED, "").split()


def passed_by_systemd(environ: Mapping[str, str]) -> list[Listener]:
    """The sockets of socket activation (sd_listen_fds(3)), each under the address it is bound to.

    A name given with FileDescriptorName= in the socket unit is not needed: sockets are matched by address.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    listeners = []
    for fd in range(_FIRST_PASSED_DESCRIPTOR, _FIRST_PASSED_DESCRIPTOR + int(environ.get("LISTEN_FDS", "0"))):
        try:
            sock = socket.socket(fileno=fd)
        except OSError:
            continue
        sock.set_inheritable(False)
        if sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.setblocking(False)
            listeners.append(Listener(address_of(sock), sock))
        else:
            sock.detach()
    return listeners


def address_of(sock: socket.socket) -> str:
    """The address a socket is bound to, in the form of a key."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def forget_systemd() -> None:
    """Take socket activation out of the environment, so that children do not claim our descriptors."""
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
