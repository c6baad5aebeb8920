"""A steady load of idempotent requests, and exactly which of them failed when.

Half of the clients keep their connection, the others open one for each request. A client with a kept connection looks
at it before it sends, as every careful client does: one that the server has closed is replaced by a new one.
"""

from __future__ import annotations

import itertools
import select
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from helpers.raw import Raw, Reply
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterable

APP = '''
import os, signal, time
from flask import Flask, request
app = Flask(__name__)

@app.route("/n/<int:number>", methods=["GET", "PUT", "DELETE", "POST"])
def n(number):
    """What `Load` asks for: an answer that belongs to this request and no other."""
    return f"{request.method} {number} {len(request.get_data())}"

@app.get("/pid")
def pid():
    return str(os.getpid())
'''
"""A Flask app that a `Load` can ask."""


@dataclass(frozen=True)
class Failure:
    """A request that was not answered with its own 200."""

    began: float
    ended: float
    kept: bool
    """Its connection had carried requests before."""
    what: str


class _Client:
    def __init__(self, load: Load, numbers: Iterable[int], *, keeps: bool) -> None:
        self.load = load
        self.numbers = iter(numbers)
        self.keeps = keeps
        self.answered = 0
        self.raw: Raw | None = None

    def run(self) -> None:
        try:
            while not self.load.over.is_set():
                self.ask(next(self.numbers))
                time.sleep(self.load.pause)
        finally:
            self.drop()

    def drop(self) -> None:
        if self.raw is not None:
            self.raw.socket.close()
            self.raw = None

    def ask(self, number: int) -> None:
        method = ("GET", "GET", "PUT", "HEAD", "DELETE")[number % 5]
        body = b"x" * (number % 3000) if method == "PUT" else b""
        close = "" if self.keeps else "Connection: close\r\n"
        head = f"{method} /n/{number} HTTP/1.1\r\nHost: test\r\n{close}Content-Length: {len(body)}\r\n\r\n"
        began = time.monotonic()
        if self.raw is not None and select.select([self.raw.socket], [], [], 0)[0]:
            self.drop()
        kept = self.raw is not None
        try:
            if self.raw is None:
                self.raw = Raw(self.load.port, 60)
            self.raw.send(head.encode() + body)
            reply = self.raw.reply(method)
        except (OSError, EOFError, AssertionError) as error:
            self.fail(began, f"{method} {number}: {error!r}", kept=kept)
            self.drop()
            return
        expected = b"" if method == "HEAD" else f"{method} {number} {len(body)}".encode()
        if (reply.status, reply.body) == (200, expected):
            self.answered += 1
        else:
            self.fail(began, f"{method} {number}: {_words(reply)}", kept=kept)
        if not self.keeps or reply.get("connection") == "close":
            self.drop()

    def fail(self, began: float, what: str, *, kept: bool) -> None:
        self.load.failures.append(Failure(began, time.monotonic(), kept, what))


def _words(reply: Reply) -> str:
    return f"{reply.status} {reply.get('x-buchner-error')} {reply.body[:200]!r}"


class Load:
    """Clients that ask all the time, between entering and leaving.

    Args:
        port: Where.
        clients: How many keep their connection, and how many more do not.
        pause: Seconds a client waits between two requests.
    """

    def __init__(self, port: int, clients: int = 3, pause: float = 0.003) -> None:
        self.port = port
        self.pause = pause
        self.failures: list[Failure] = []
        self.over = threading.Event()
        self.clients = many = 2 * clients
        self._clients = [_Client(self, itertools.count(index, many), keeps=index < clients) for index in range(many)]
        self._threads = [threading.Thread(target=client.run) for client in self._clients]

    @property
    def answered(self) -> int:
        """Requests that got their own 200."""
        return sum(client.answered for client in self._clients)

    def progress(self, answers: int = 20, seconds: float = 60.0) -> None:
        """Wait until every client has got so many more answers: what was disturbed works again."""
        before = [client.answered for client in self._clients]
        wait_for(
            lambda: all(client.answered >= was + answers for client, was in zip(self._clients, before, strict=True)),
            f"{answers} more answers for each client",
            seconds,
        )

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()
