"""A gateway as its user starts it: `buchner run FILE` in a process of its own, on a free port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from typing import TYPE_CHECKING

from helpers.raw import Reply, ask
from helpers.wait import wait_for

if TYPE_CHECKING:
    from pathlib import Path

SERVER = '[[server]]\nlisten = ["127.0.0.1:{port}"]\n'

BUCHNER = [sys.executable, "-m", "buchner"]
"""The command, of the Python that runs the tests."""


_MOST_HELD = 500
_held: deque[int] = deque()
"""Descriptors of the sockets that keep the latest ports of `hold` from others."""


def hold(port: int, host: str = "127.0.0.1") -> int:
    """Take a port (0: any) that nobody has, and keep it as long as this process lives, or takes 500 more.

    It stays bound without listening: the kernel gives it neither to another test process nor to a client as the local
    port of its connection, and refuses connections to it. A server may listen on it, as all set SO_REUSEADDR.

    Raises:
        OSError: Somebody has it.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.bind((host, port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not before: two that set it may bind the same port
        bound: int = sock.getsockname()[1]
        _held.append(sock.detach())
    if len(_held) > _MOST_HELD:
        os.close(_held.popleft())
    return bound


def free_port() -> int:
    return hold(0)


class Gateway:
    """A running `buchner run`; `log` is all it said, on both streams.

    The first `[[server]]` listens on its port, and so do others with `listen = ["127.0.0.1:{port}"]`.
    """

    def __init__(self, directory: Path, toml: str, environment: dict[str, str]) -> None:
        self.port = free_port()
        self.file = directory / "gateway.toml"
        self.file.write_text(toml.replace("[[server]]\n", SERVER, 1).replace("{port}", str(self.port)))
        self.output = directory / "output.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*BUCHNER, "run", str(self.file)],
                stdout=output,
                stderr=output,
                cwd=directory,
                env={**os.environ, **environment},
            )
        try:
            wait_for(self._answers, "the first accepted connection", 60)
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}; it said:\n{self.log}") from None

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"it ended with {self.process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    @property
    def log(self) -> str:
        return self.output.read_text(errors="replace")

    def ask(self, request: bytes | str, method: str = "GET") -> Reply:
        return ask(self.port, request, method)

    def get(self, target: str = "/", *fields: str) -> Reply:
        lines = [f"GET {target} HTTP/1.1", "Host: test", "Connection: close", *fields]
        return self.ask("\r\n".join(lines) + "\r\n\r\n")

    def stop(self) -> int:
        """SIGTERM, then what it exits with; SIGKILL after 20 s."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
