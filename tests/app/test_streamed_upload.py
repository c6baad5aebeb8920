"""`request_buffering = false`: the app gets the body as it comes, and may answer before it has read all of it."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from app_driver import AppGateway
from helpers.raw import Raw
from slot_driver import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Environ = dict[str, Any]


class App:
    """/echo sends back what it reads, as it reads it; /early answers without reading; others read all."""

    def __init__(self) -> None:
        self.failed = threading.Event()

    def __call__(self, environ: Environ, start: Any) -> Any:
        path, body = environ["PATH_INFO"], environ["wsgi.input"]
        start("200 OK", [("Content-Type", "application/octet-stream")])
        if path == "/echo":
            return self._echo(body)
        if path == "/early":
            return [b"early"]
        return [b"%d" % len(body.read())]

    def _echo(self, body: Any) -> Iterator[bytes]:
        yield b"ready"
        try:
            while piece := body.read1(16_000):
                yield piece
        except OSError:
            self.failed.set()
            raise


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def serve(app: App) -> Iterator[Callable[..., AppGateway]]:
    made: list[AppGateway] = []

    def start(slots: int = 1, **settings: Any) -> AppGateway:
        made.append(AppGateway(app, slots, request_buffering=False, **settings))
        return made[-1]

    yield start
    for gateway in made:
        gateway.__exit__()


def begin(raw: Raw, path: str, length: int) -> None:
    raw.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")


def chunk(raw: Raw) -> bytes:
    size = int(raw._until(b"\r\n"), 16)
    data = raw._exactly(size)
    raw._exactly(2)
    return data


def echoed(raw: Raw, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += chunk(raw)
    return data


def test_an_answer_and_the_body_it_depends_on_go_both_ways_at_once(serve: Callable[..., AppGateway]) -> None:
    gateway = serve(buffering=False)
    with Raw(gateway.port) as raw:
        begin(raw, "/echo", 50 * 1000)
        assert b"200 OK" in raw._until(b"\r\n\r\n")
        assert echoed(raw, 5) == b"ready"
        for _ in range(50):
            piece = os.urandom(1000)
            raw.send(piece)
            assert echoed(raw, 1000) == piece, "each piece comes back before the next is sent"
        assert chunk(raw) == b""
    assert gateway.ask("/all", "POST", b"12345")[2] == b"5"


def test_a_client_that_reads_only_when_it_has_sent_all_is_served(serve: Callable[..., AppGateway]) -> None:
    gateway = serve()
    body = os.urandom(3_000_000)
    with Raw(gateway.port, 30) as raw:
        begin(raw, "/echo", len(body))
        raw.send(body)
        assert raw.reply().body == b"ready" + body


def test_an_answer_that_needs_no_body_leaves_the_slot_in_order(serve: Callable[..., AppGateway]) -> None:
    gateway = serve(2)
    body = bytes(300_000)

    def early(_number: int) -> bytes:
        with Raw(gateway.port) as raw:
            begin(raw, "/early", len(body))
            raw.send(body[:100_000])
            return raw.reply().body

    def whole(number: int) -> bytes:
        if number % 4 == 0:  # without a body it could be handed over ahead of time
            return gateway.ask("/all")[2]
        return gateway.ask("/all", "POST", body[:number])[2]

    with ThreadPoolExecutor(8) as clients:
        answers = [
            clients.submit(early, number) if number % 2 else clients.submit(whole, number) for number in range(200)
        ]
        for number, answer in enumerate(answers):
            expected = b"early" if number % 2 else b"%d" % (number if number % 4 else 0)
            assert answer.result(30) == expected
    until(lambda: gateway.status()["pools"]["app"]["idle"] == 2)


def test_an_app_hears_that_the_client_left_in_the_middle(serve: Callable[..., AppGateway], app: App) -> None:
    gateway = serve(buffering=False)
    with Raw(gateway.port) as raw:
        begin(raw, "/echo", 50_000)
        raw.send(bytes(1000))
        raw._until(b"\r\n\r\n")
        assert echoed(raw, 1005) == b"ready" + bytes(1000)
    assert app.failed.wait(10)
    assert gateway.ask("/all", "POST", b"12345")[2] == b"5"


def test_a_client_that_stops_sending_does_not_hold_its_slot(serve: Callable[..., AppGateway], app: App) -> None:
    gateway = serve(buffering=False, body_timeout=300)
    with Raw(gateway.port) as raw:
        begin(raw, "/echo", 50_000)
        raw.send(bytes(1000))
        raw._until(b"\r\n\r\n")
        assert echoed(raw, 1005) == b"ready" + bytes(1000)
        assert app.failed.wait(10)
        assert gateway.ask("/all", "POST", b"12345")[2] == b"5"


def test_before_the_answer_the_client_hears_that_it_was_too_slow(serve: Callable[..., AppGateway]) -> None:
    gateway = serve(body_timeout=300)
    with Raw(gateway.port) as raw:
        begin(raw, "/all", 50_000)
        raw.send(bytes(1000))
        assert raw.reply().status == 408
    assert gateway.ask("/all", "POST", b"12345")[2] == b"5"


def test_more_than_max_body_is_413_also_when_it_shows_late(serve: Callable[..., AppGateway]) -> None:
    gateway = serve(max_body=10_000)
    with Raw(gateway.port) as raw:
        raw.send("POST /all HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            raw.send(b"3e8\r\n" + bytes(1000) + b"\r\n")
        assert raw.reply().status == 413
    assert gateway.ask("/all", "POST", b"12345")[2] == b"5"
