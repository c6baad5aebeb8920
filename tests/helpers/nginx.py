"""nginx and Buchner on the same nginx.conf, asked the same, so that their answers can be compared.

`Pair` takes the inside of `http { }`. In it `PORT` stands for the port each of both listens on, and `DIR` for a
directory with the files the test made.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from helpers.gateway import BUCHNER, free_port
from helpers.raw import Raw, Reply
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAIN = """
{user}
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log info;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{http}
}}
"""
OWN = ("server", "date", "connection", "x-buchner-error")
"""Fields that differ by design or by the clock."""


class Server:
    """A running process that listens on a free port; `log` is what it said."""

    def __init__(self, directory: Path, http: str, command: list[str]) -> None:
        directory.mkdir(exist_ok=True)
        self.port = free_port()
        self.file = directory / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""  # who may read what the test made
        text = MAIN.format(user=user, directory=directory, http=http.replace("PORT", str(self.port)))
        self.file.write_text(text)
        self.prepare()
        self.output = directory / "output.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen([*command, str(self.file)], stdout=output, stderr=output, cwd=directory)
        try:
            wait_for(self._answers, "the first accepted connection", 60)
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}; {command[0]} said:\n{self.log}\nof:\n{text}") from None

    def prepare(self) -> None:
        """Do what is to be done before the start."""

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"it ended with {self.process.returncode}")
        try:
            Raw(self.port, 1).socket.close()
        except OSError:
            return False
        return True

    @property
    def log(self) -> str:
        return self.output.read_text(errors="replace")

    def ask(self, request: bytes | str, method: str = "GET") -> Reply | None:
        """Send a request on a connection of its own; None if the connection is closed without an answer."""
        with Raw(self.port) as raw:
            raw.send(request)
            try:
                return raw.reply(method)
            except (EOFError, ConnectionResetError):
                return None

    def timed(self, request: bytes | str) -> tuple[int | None, float]:
        """Return the status of an answer, and the seconds it took."""
        before = time.monotonic()
        reply = self.ask(request)
        return reply.status if reply else None, time.monotonic() - before

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Converted(Server):
    """Buchner on the gateway.toml that `buchner convert` makes of a file."""

    def __init__(self, directory: Path, http: str) -> None:
        super().__init__(directory, http, [*BUCHNER, "run"])

    def prepare(self) -> None:
        toml = self.file.with_name("gateway.toml")
        subprocess.run([*BUCHNER, "convert", str(self.file), "-o", str(toml)], check=True, capture_output=True)
        self.file = toml


@dataclass(frozen=True)
class Answer:
    """What of an answer must be the same: all but what differs by design."""

    status: int | None
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)


def comparable(reply: Reply | None, port: int) -> Answer:
    """Take out what differs by design: own fields and the text of built-in pages.

    A built-in page is an HTML document with its status in the title; both have one where the other has.
    """
    if reply is None:
        return Answer(None)
    body = reply.body.replace(str(port).encode(), b"PORT")
    built_in = re.search(rb"<title>%d " % reply.status, body) is not None
    fields = sorted(
        (name, value.replace(str(port), "PORT"))
        for name, value in reply.fields
        if name not in OWN and not (built_in and name in ("content-type", "content-length"))
    )
    return Answer(reply.status, fields, b"(built-in page)" if built_in else body, reply.trailers)


class Pair:
    """nginx and Buchner on the same file.

    Args:
        directory: an empty directory for both.
        nginx: path of nginx's program.
        http: what stands in `http { }`.
    """

    def __init__(self, directory: Path, nginx: str, http: str) -> None:
        http = http.replace("DIR", str(directory))
        self.nginx = Server(directory / "nginx", http, [nginx, "-c"])
        try:
            self.buchner = Server(directory / "buchner", http, [*BUCHNER, "run"])
        except AssertionError:
            self.nginx.stop()
            raise

    def both(self, request: bytes | str, method: str = "GET") -> tuple[Answer, Answer]:
        """Return what nginx and what Buchner answers."""
        return (
            comparable(self.nginx.ask(request, method), self.nginx.port),
            comparable(self.buchner.ask(request, method), self.buchner.port),
        )

    def same(self, request: bytes | str, method: str = "GET") -> Answer:
        """Return the answer, which both must give."""
        theirs, ours = self.both(request, method)
        assert ours == theirs, f"{request!r}\n  nginx:   {theirs}\n  Buchner: {ours}"
        return theirs

    def get(self, target: str, *fields: str, host: str = "test") -> Answer:
        """Return the answer to a GET, which both must give."""
        return self.same(get(target, fields, host))

    def stop(self) -> None:
        self.nginx.stop()
        self.buchner.stop()


def get(target: str, fields: Iterable[str] = (), host: str = "test") -> str:
    """Return the bytes of a GET."""
    return "\r\n".join([f"GET {target} HTTP/1.1", f"Host: {host}", "Connection: close", *fields]) + "\r\n\r\n"
