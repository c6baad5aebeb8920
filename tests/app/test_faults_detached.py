"""WebSockets and event streams that take every thread or descriptor, and what an app may have of its worker."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from helpers.instance import Instance
from helpers.load import APP
from helpers.raw import Raw
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("flask_sock")

Serve = Callable[..., Instance]

SHOP = (
    APP
    + """
from flask import Response
from flask_sock import Sock

@Sock(app).route("/echo")
def echo(ws):
    while True:
        ws.send(ws.receive())

@app.get("/events")
def events():
    def ticks():
        while True:
            yield "data: x\\n\\n"
            time.sleep(0.05)
    return Response(ticks(), mimetype="text/event-stream")

def handler(number, frame):
    os.environ["SEEN"] = str(number)

signal.signal(signal.SIGTERM, handler)
signal.signal(signal.SIGHUP, handler)

@app.get("/seen")
def seen():
    return os.environ.get("SEEN", "")
"""
)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve the app above with these flags, or with an [app] table's further settings."""
    running: list[Instance] = []
    (tmp_path / "shop.py").write_text(SHOP)

    def start(*flags: str, app: str = "", gateway: str = "") -> Instance:
        words = ["serve", "shop:app", "--bind", "127.0.0.1:0", *flags]
        if app or gateway:
            user = 'user = "root"\n' if os.geteuid() == 0 else ""
            toml = (
                f'[gateway]\n{user}{gateway}\n[app]\ntarget = "shop:app"\nworkers = 1\n{app}\n'
                '[[server]]\nlisten = ["127.0.0.1:0"]\n[[server.route]]\npath = "/"\napp = true\n'
            )
            (tmp_path / "gateway.toml").write_text(toml)
            words = ["run", "gateway.toml"]
        running.append(Instance(tmp_path, *words))
        return running[-1]

    yield start
    for instance in running:
        assert instance.end() == 0, instance.log[-5000:]


def upgrade(instance: Instance) -> Raw:
    raw = Raw(instance.port, 10)
    key = base64.b64encode(bytes(16)).decode()
    raw.send(
        "GET /echo HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    return raw


def test_websockets_beyond_max_detached_leave_one_thread_to_the_others(serve: Serve) -> None:
    instance = serve(app="max_detached = 3\nthreads = 2")
    (worker,) = instance.ready_workers()
    with contextlib.ExitStack() as stack:
        statuses = [stack.enter_context(upgrade(instance)).reply().status for _ in range(7)]
        assert statuses == [101] * 4 + [503] * 3
        assert [instance.get("/pid").status for _ in range(5)] == [200] * 5
    assert stack is not None
    with contextlib.closing(wait_for(lambda: again(instance), "one that has left makes room").socket):
        assert instance.get("/pid").body == str(worker).encode()


def again(instance: Instance) -> Raw | None:
    raw = upgrade(instance)
    if raw.reply().status == 101:
        return raw
    raw.socket.close()
    return None


def test_event_streams_beyond_max_detached_leave_one_thread_to_the_others(serve: Serve) -> None:
    instance = serve(app="max_detached = 3\nthreads = 2")
    with contextlib.ExitStack() as stack:
        heads = []
        for _ in range(7):
            raw = stack.enter_context(Raw(instance.port, 10))
            raw.send("GET /events HTTP/1.1\r\nHost: test\r\n\r\n")
            heads.append(raw._until(b"\r\n\r\n")[9:12])
        assert heads == [b"200"] * 4 + [b"503"] * 3
        assert [instance.get("/pid").status for _ in range(5)] == [200] * 5
    wait_for(lambda: instance.status()["gateway"]["pools"]["app"]["idle"] == 2, "both threads are free")


def flood(instance: Instance, seconds: float) -> None:
    """Upgrades and event streams until no descriptor is left, and further; then nothing is lost."""
    before = instance.ready_workers()
    until = time.monotonic() + seconds

    def client(number: int) -> None:
        opened: list[Raw] = []
        while time.monotonic() < until:
            with contextlib.suppress(OSError, EOFError):
                opened.append(upgrade(instance) if number % 2 else Raw(instance.port, 10))
                if not number % 2:
                    opened[-1].send("GET /events HTTP/1.1\r\nHost: test\r\n\r\n")
            if len(opened) > 60:
                opened.pop(0).socket.close()
            time.sleep(0.005)
        for raw in opened:
            raw.socket.close()

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(client, range(8)))
    wait_for(lambda: instance.get("/pid").status == 200, "a response after the flood", 2)
    assert [instance.get("/pid").status for _ in range(20)] == [200] * 20
    assert instance.ready_workers() == before, instance.log[-3000:]
    slots = instance.status()["gateway"]["pools"]["app"]["slots"]
    assert slots == 2


def test_a_flood_of_upgrades_and_event_streams_loses_nothing_for_good(serve: Serve) -> None:
    flood(serve(app="threads = 2", gateway="open_files = 200"), 3)


@pytest.mark.chaos
def test_a_long_flood_of_upgrades_and_event_streams_loses_nothing_for_good(serve: Serve) -> None:
    flood(serve(app="threads = 2", gateway="open_files = 200"), 30)


def test_signal_handlers_of_the_app_are_kept_or_said_to_be_replaced(serve: Serve) -> None:
    instance = serve("--workers", "1")
    (worker,) = instance.ready_workers()
    assert instance.log.count("the app's handler of SIGTERM is replaced") == 1
    assert "SIGHUP is replaced" not in instance.log
    os.kill(worker, signal.SIGHUP)
    wait_for(lambda: instance.get("/seen").body == b"1", "the app's own handler")


FAILS = """
import time

def app(environ, start_response):
    if environ["PATH_INFO"].startswith("/hang"):
        time.sleep(60)
    raise ValueError("no")
"""


def test_a_request_cannot_write_lines_into_the_log(tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text(FAILS)
    with contextlib.closing(Plain(tmp_path)) as plain:
        for path, status in (("fail", 500), ("hang", 504)):
            reply = plain.instance.get(f"/{path}%0a2026-01-01%20ERROR%20forged%0d%1b[31m%e2%80%a8%c2%85x")
            assert reply.status == status
        plain.instance.says("passed its app_timeout")
        log = plain.instance.log
    assert not [line for line in log.splitlines() if line.startswith("2026-01-01")]
    assert "\x1b" not in log
    assert r"/fail\n2026-01-01 ERROR forged\r\x1b[31m" in log
    assert r"/hang\n2026-01-01 ERROR forged\r\x1b[31m" in log


class Plain:
    """A WSGI app without a framework, which would log failures of its own."""

    def __init__(self, directory: Path) -> None:
        words = ("serve", "fails:app", "--bind", "127.0.0.1:0", "--workers", "1", "--timeout", "1")
        self.instance = Instance(directory, *words)

    def close(self) -> None:
        self.instance.end()
