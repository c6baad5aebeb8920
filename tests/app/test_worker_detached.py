"""Answers that leave their slot: event streams and WebSockets."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from slot_driver import COMPLETE, DETACHED, END, UPGRADE, UPGRADED, Environ, Peer, Start, hello, until

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_an_event_stream_leaves_its_slot(serve_slots: Any) -> None:
    go = threading.Event()

    def app(environ: Environ, start: Start) -> Any:
        if environ["PATH_INFO"] != "/events":
            return hello(environ, start)
        start("200 OK", [("Content-Type", "text/event-stream; charset=utf-8")])
        return events()

    def events() -> Iterator[bytes]:
        yield b"data: 1\n\n"
        assert go.wait(5)
        yield b"data: 2\n\n"

    gateway = serve_slots(app)
    answer = gateway.ask("/events")
    assert (answer.flags, answer.body) == (DETACHED, b"data: 1\n\n")
    for _ in range(3):
        assert gateway.ask("/").body == b"hello"
    assert gateway.slots.stats()["detached"] == 1
    go.set()
    own = Peer(socket.socket(fileno=answer.fds[0]))
    assert [own.frame().body, own.frame().kind] == [b"data: 2\n\n", END]
    own.sock.close()
    until(lambda: gateway.slots.stats()["detached"] == 0)


def test_beyond_max_detached_an_event_stream_stays_on_its_slot(serve_slots: Any) -> None:
    def app(_environ: Environ, start: Start) -> Iterator[bytes]:
        start("200 OK", [("Content-Type", "text/event-stream")])
        yield b"a"
        yield b"b"

    answer = serve_slots(app, max_detached=0).ask()
    assert (answer.kind, answer.body) == (END, b"ab")


def test_a_websocket_of_flask_sock_works(serve_slots: Any, caplog: pytest.LogCaptureFixture) -> None:
    flask = pytest.importorskip("flask")
    flask_sock = pytest.importorskip("flask_sock")
    app = flask.Flask(__name__)
    sock = flask_sock.Sock(app)

    @sock.route("/echo")  # type: ignore[untyped-decorator]
    def echo(ws: Any) -> None:
        while (text := ws.receive()) != "bye":
            ws.send(text[::-1])

    app.route("/")(lambda: "page")
    gateway = serve_slots(app)
    headers = [
        ("HTTP_CONNECTION", "Upgrade"),
        ("HTTP_UPGRADE", "websocket"),
        ("HTTP_SEC_WEBSOCKET_KEY", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("HTTP_SEC_WEBSOCKET_VERSION", "13"),
    ]
    answer = gateway.ask("/echo", flags=UPGRADE, headers=headers)
    assert (answer.kind, answer.flags) == (UPGRADED, 0)
    assert gateway.ask("/").body == b"page"
    client = socket.socket(fileno=answer.fds[0])
    client.settimeout(10)
    with client, client.makefile("rb") as file:
        assert file.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
        while file.readline() != b"\r\n":
            pass
        client.sendall(masked(b"abc"))
        assert file.read(5) == b"\x81\x03cba"
        client.sendall(masked(b"bye"))
        assert file.read(1) == b"\x88"
    until(lambda: gateway.slots.stats()["detached"] == 0)
    assert gateway.slots.stats()["failed"] == 0
    assert not caplog.records, caplog.text


def masked(text: bytes) -> bytes:
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text


def test_an_upgrade_that_the_app_refuses_is_an_ordinary_answer(serve_slots: Any) -> None:
    answer = serve_slots(hello).ask(flags=UPGRADE)
    assert (answer.flags, answer.body) == (COMPLETE, b"hello")


def test_beyond_max_detached_an_upgrade_holds_its_slot(serve_slots: Any) -> None:
    def app(environ: Environ, _start: Start) -> list[bytes]:
        environ["werkzeug.socket"].sendall(b"raw")
        return []

    gateway = serve_slots(app, max_detached=0)
    answer = gateway.ask(flags=UPGRADE)
    assert (answer.kind, answer.flags) == (UPGRADED, 1)
    assert os.read(answer.fds[0], 10) == b"raw"
    os.close(answer.fds[0])
    assert gateway.peers[0].frame().kind == END


@pytest.mark.parametrize(
    ("raised", "logged"),
    [(ConnectionError, 0), (StopIteration, 0), (ConnectionResetError, 1), (lambda: ConnectionError("the database"), 1)],
)
def test_an_upgrade_that_ends_on_purpose_is_not_logged(
    serve_slots: Any, caplog: pytest.LogCaptureFixture, raised: Any, logged: int
) -> None:
    def app(environ: Environ, _start: Start) -> list[bytes]:
        environ["werkzeug.socket"].sendall(b"raw")
        raise raised()

    gateway = serve_slots(app)
    answer = gateway.ask(flags=UPGRADE)
    assert os.read(answer.fds[0], 10) == b"raw"  # closed before that, it would be the app's error
    os.close(answer.fds[0])
    until(lambda: gateway.slots.stats()["detached"] == 0)
    assert gateway.ask("/", flags=UPGRADE).kind == UPGRADED
    assert len([record for record in caplog.records if "the app raised" in record.getMessage()]) >= logged
    assert bool(caplog.records) == bool(logged)
