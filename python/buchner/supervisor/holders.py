"""Who listens on an address, from /proc (proc(5)): for "the port is in use" and `buchner doctor`.

Sockets are seen of everybody, the processes that hold them only of this user (of all, for root).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LISTEN = "0A"
_ACCEPTS = 0x10000  # __SO_ACCEPTCON of the kernel's unix sockets
_LONGEST = 70


@dataclass(frozen=True)
class Holder:
    """A process that holds a listening socket.

    Args:
        pid: its id.
        command: its command line, shortened.
    """

    pid: int
    command: str

    def __str__(self) -> str:
        return f"{self.command} (pid {self.pid})"


def of_port(port: int, hosts: set[str] | None = None) -> Holder | None:
    """The process that listens on a TCP port; None where nobody does, or /proc does not tell.

    Args:
        port: the port.
        hosts: addresses that matter, such as ``127.0.0.1``; one that listens on all of the machine's always does.
    """
    wide = {"0.0.0.0", "::"}
    everywhere = hosts is None or bool(hosts & wide)
    return _holder(
        {inode for host, at, inode in _tcp() if at == port and (everywhere or host in wide or host in (hosts or ()))}
    )


def of_path(path: str) -> Holder | None:
    """The process that listens on a Unix socket; None where nobody does, or /proc does not tell."""
    real = os.path.realpath(path)
    return _holder({inode for at, inode in _unix() if os.path.realpath(at) == real})


def _tcp() -> Iterator[tuple[str, int, str]]:
    """The listening TCP sockets: address, port, inode."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for fields in _rows(table):
            if fields[3] == _LISTEN:
                host, _, port = fields[1].rpartition(":")
                yield _host(host), int(port, 16), fields[9]


def _host(text: str) -> str:
    """An address as the kernel prints it: words in the machine's byte order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _unix() -> Iterator[tuple[str, str]]:
    """The listening Unix sockets that have a path: path, inode."""
    for fields in _rows("/proc/net/unix"):
        if len(fields) > 7 and int(fields[3], 16) & _ACCEPTS:
            yield fields[7], fields[6]


def _rows(table: str) -> Iterator[list[str]]:
    with contextlib.suppress(OSError):
        for line in Path(table).read_text(errors="replace").splitlines()[1:]:
            yield line.split()


def _holder(inodes: set[str]) -> Holder | None:
    if not inodes:
        return None
    links = {f"socket:[{inode}]" for inode in inodes}
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and _holds(int(name), links)]
    if not pids:
        return None
    pid = min(pids)  # the parent that opened it, not the children it was passed to
    return Holder(pid, _command(pid))


def _holds(pid: int, links: set[str]) -> bool:
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{fd}") in links:
                    return True
    return False


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        words[0] = os.path.basename(words[0])
        line = " ".join(word.decode(errors="replace") for word in words if word).strip()
        if line:
            return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "a program"
