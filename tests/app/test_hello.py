"""examples/hello through `buchner serve`: one of everything, as a browser would use it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from helpers.gateway import BUCHNER, free_port
from helpers.places import ROOT
from helpers.raw import Raw, ask
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

HELLO = ROOT / "examples" / "hello"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    chosen = free_port()
    said = tmp_path_factory.mktemp("hello") / "output.txt"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [*BUCHNER, "serve", "hello:app", "--bind", f"127.0.0.1:{chosen}", "--workers", "1"],
            cwd=HELLO,
            stdout=output,
            stderr=output,
        )

    def answers() -> bool:
        assert process.poll() is None, said.read_text()
        try:
            return ask(chosen, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
        except OSError:
            return False

    try:
        wait_for(answers, "the first page", 60)
        yield chosen
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()


def test_the_form_greets(port: int) -> None:
    form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 8"
    reply = ask(port, f"POST / HTTP/1.1\r\nHost: a\r\n{form}\r\n\r\nname=Ada")
    assert b"Hello, Ada!" in reply.body


def test_the_app_sees_the_client_without_proxyfix(port: int) -> None:
    reply = ask(port, "GET /json HTTP/1.1\r\nHost: shop.example:81\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
    seen = json.loads(reply.body)
    assert seen["url"] == "http://shop.example:81/json"
    assert seen["address"] == "127.0.0.1"


def test_a_static_file_is_revalidated(port: int) -> None:
    reply = ask(port, "GET /static/flask.svg HTTP/1.1\r\nHost: a\r\n\r\n")
    assert reply.status == 200
    assert reply.body == (HELLO / "static" / "flask.svg").read_bytes()
    again = ask(port, f"GET /static/flask.svg HTTP/1.1\r\nHost: a\r\nIf-None-Match: {reply.get('etag')}\r\n\r\n")
    assert again.status == 304


def test_a_chunked_upload_is_hashed_whole(port: int) -> None:
    body = os.urandom(1_000_000)
    head = b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    reply = ask(port, head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert json.loads(reply.body) == {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def test_events_come_one_by_one_and_leave_the_slots_free(port: int) -> None:
    streams = [Raw(port) for _ in range(10)]  # more than there are threads
    for stream in streams:
        stream.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
    for stream in streams:
        assert b"text/event-stream" in stream._until(b"\r\n\r\n").lower()
        assert b"data: " in stream._until(b" UTC")
    assert ask(port, "GET /json HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
    for stream in streams:
        stream.socket.close()


def test_a_websocket_echoes(port: int) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    with Raw(port) as raw:
        raw.send(
            "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        accept = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        reply = raw.reply()
        assert (reply.status, reply.get("sec-websocket-accept")) == (101, base64.b64encode(accept).decode())
        for word in (b"hello", b"again"):
            raw.send(bytes([0x81, 0x80 | len(word)]) + b"\0\0\0\0" + word)  # a masked text frame, RFC 6455 section 5.2
            assert raw._exactly(2 + len(word)) == bytes([0x81, len(word)]) + word
