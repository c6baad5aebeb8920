"""Plays the supervisor: a real gateway process with real slots, here or in another (docs/control-protocol.md)."""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from buchner import _native

if TYPE_CHECKING:
    from collections.abc import Callable

GATEWAY = "import sys; from buchner import _native; _native.gateway_main(int(sys.argv[1]))"


class AppGateway:
    """A gateway process whose one route is an app, served by threads of this process."""

    def __init__(
        self, app: Callable[..., Any] | None, slots: int = 1, pool: dict[str, Any] | None = None, **settings: Any
    ) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fd = theirs.fileno()
        self.process = subprocess.Popen([sys.executable, "-c", GATEWAY, str(fd)], pass_fds=[fd])
        theirs.close()
        self.events: list[dict[str, Any]] = []
        self.wait("hello")
        self.send({"op": "listen", "address": self.address}, [self.listener.fileno()])
        self.slots: list[_native.Slots] = []
        self.io_threads = int(settings.get("gateway", {}).get("io_threads", 1))
        self.plan(pool or {}, settings)
        self.workers = 0
        if app is not None:
            self.add(app, slots)

    def plan(self, pool: dict[str, Any], settings: dict[str, Any]) -> None:
        mount = settings.pop("mount", "")
        config = {
            "gateway": settings.pop("gateway", {}),
            "listen": [{"address": self.address, "default_server": 0, "limits": settings.pop("limits", {})}],
            "server": [{
                "listen": [0], "names": [], "settings": 0,
                "route": [{"path": "/", "content": {"app": {"pool": "app", "mount": mount}}, "settings": 0}],
            }],
            "app": {"app": pool},
            "settings": [settings],
        }  # fmt: skip
        memfd = os.memfd_create("plan")
        os.write(memfd, json.dumps(config).encode())
        os.lseek(memfd, 0, os.SEEK_SET)
        self.send({"op": "plan", "id": 1}, [memfd])
        os.close(memfd)
        answer = self.wait("ready", "refused")
        assert answer["op"] == "ready", answer

    def pairs(self, slots: int) -> tuple[int, list[int]]:
        """Announce a worker; returns the claim memfd and the worker's ends."""
        memfd = os.memfd_create("claims", os.MFD_ALLOW_SEALING)
        os.ftruncate(memfd, 4096)
        ours, theirs = zip(*(socket.socketpair() for _ in range(slots * self.io_threads)), strict=True)
        self.workers += 1
        message = {"op": "worker", "pool": "app", "worker": self.workers, "pid": 1, "slots": slots}
        self.send(message, [memfd, *(sock.fileno() for sock in ours)])
        for sock in ours:
            sock.close()
        return memfd, [sock.detach() for sock in theirs]

    def add(self, app: Callable[..., Any], slots: int, **options: Any) -> int:
        """A worker of this process; returns its id."""
        made = _native.Slots(app, slots, **options)
        memfd, fds = self.pairs(slots)
        made.attach(memfd, fds, 0, self.io_threads)
        made.start()
        self.slots.append(made)
        return self.workers

    def send(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.control.sendmsg([json.dumps(message).encode()], rights)

    def wait(self, *ops: str, seconds: float = 10.0) -> dict[str, Any]:
        """The next event of these kinds."""
        deadline = time.monotonic() + seconds
        while True:
            for event in self.events:
                if event["op"] in ops:
                    self.events.remove(event)
                    return event
            ready = select.select([self.control], [], [], max(0.0, deadline - time.monotonic()))[0]
            assert ready, f"no {ops} came, but {self.events}"
            data = self.control.recv(1 << 16)
            assert data, "the gateway has ended"
            self.events.append(json.loads(data))

    def status(self) -> dict[str, Any]:
        """The gateway's counters."""
        self.send({"op": "status", "id": 1})
        counters: dict[str, Any] = self.wait("status")["status"]
        return counters

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.settimeout(15)
        return sock

    def ask(
        self, path: str = "/", method: str = "GET", body: bytes | None = None, headers: str = ""
    ) -> tuple[int, str, bytes]:
        """Status, head and body of one request on its own connection."""
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        with self.connect() as sock:
            sock.sendall(
                f"{method} {path} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n{length}{headers}\r\n".encode()
                + (body or b"")
            )
            data = b""
            while piece := sock.recv(1 << 16):
                data += piece
        head, _, rest = data.partition(b"\r\n\r\n")
        text = head.decode("latin-1")
        if "transfer-encoding: chunked" in text.lower():
            rest = dechunk(rest)
        return int(text.split(" ", 2)[1]), text, rest

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.process.kill()
        self.process.wait()
        self.listener.close()
        for slots in self.slots:
            slots.stop(2.0)


def dechunk(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        count = int(size, 16)
        if count == 0:
            return body
        assert len(data) >= count + 2, "cut short"
        body, data = body + data[:count], data[count + 2 :]
    raise AssertionError("the body was broken off")
