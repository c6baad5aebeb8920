"""A name server for tests, which says of a name what its first word asks for."""

from __future__ import annotations

import socket
import struct
import threading
import time

A, AAAA = 1, 28
NXDOMAIN, SERVFAIL = 3, 2


class Names:
    """A name server on a free port of UDP, which notes what it is asked; the first word of a name says what it answers.

    `ok` is 127.0.0.1 for 60 s, `short` the same for 1 s, `missing` NXDOMAIN, `broken` SERVFAIL; others get no answer.
    `addresses` has other addresses of a whole name, for 1 s; a name without any does not exist. Each answer takes
    `delay` seconds, one after the other.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.silent = False
        self.addresses: dict[str, list[str]] = {}
        self.delay = 0.0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def count(self, name: str) -> int:
        """Return how often the IPv4 address of a name was asked for."""
        return self.asked.count((name, A))

    def _serve(self) -> None:
        while True:
            try:
                data, client = self.socket.recvfrom(512)
            except OSError:
                return
            end = data.index(b"\0", 12)
            labels, at = [], 12
            while at < end:
                labels.append(data[at + 1 : at + 1 + data[at]].decode())
                at += 1 + data[at]
            kind: int = struct.unpack("!H", data[end + 1 : end + 3])[0]
            name = ".".join(labels)
            self.asked.append((name, kind))
            ttl = {"ok": 60, "short": 1}.get(labels[0])
            code = {"missing": NXDOMAIN, "broken": SERVFAIL}.get(labels[0])
            addresses = ["127.0.0.1"]
            if name in self.addresses:
                addresses = self.addresses[name]
                ttl, code = (1, None) if addresses else (None, NXDOMAIN)
            if self.silent or (ttl is None and code is None):
                continue
            time.sleep(self.delay)
            records = []
            if ttl is not None and kind == A:
                start = struct.pack("!HHHIH", 0xC00C, A, 1, ttl, 4)
                records = [start + socket.inet_aton(address) for address in addresses]
            head = data[:2] + bytes([0x81, 0x80 | (code or 0), 0, 1]) + struct.pack("!H", len(records)) + bytes(4)
            self.socket.sendto(head + data[12 : end + 5] + b"".join(records), client)
