"""Threads that do not come back, and answers that do not end, on one worker: the others are served all the same."""

from __future__ import annotations

import base64
import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from helpers.instance import Instance, kill
from helpers.load import APP
from helpers.raw import Raw, Reply
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("flask_sock")

Serve = Callable[..., Instance]

STUCK = (
    APP
    + '''
import re, pathlib
from flask import Response
from flask_sock import Sock
HERE = pathlib.Path(__file__).parent

@Sock(app).route("/echo")
def echo(ws):
    while True:
        ws.send(ws.receive())

@app.get("/events")
def events():
    def ticks():
        for number in range(10_000):
            yield f"data: {number}\\n\\n"
            time.sleep(0.1)
    return Response(ticks(), mimetype="text/event-stream")

@app.get("/sleep")
def sleep():
    (HERE / "began").touch()
    time.sleep(60)

@app.route("/loop", methods=["GET", "POST"])
def loop():
    """A loop in C that holds the interpreter: no other thread of the process runs any Python."""
    (HERE / "began").touch()
    re.fullmatch("(a|a)+b", "a" * 60)

@app.post("/die")
def die():
    request.get_data()
    os.kill(os.getpid(), signal.SIGKILL)
'''
)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve the app above with these flags."""
    running: list[Instance] = []
    (tmp_path / "shop.py").write_text(STUCK)

    def start(*flags: str) -> Instance:
        running.append(Instance(tmp_path, "serve", "shop:app", "--bind", "127.0.0.1:0", *flags))
        return running[-1]

    yield start
    for instance in running:
        instance.end()


def websocket(port: int) -> Raw:
    raw = Raw(port, 60)
    raw.send(
        "GET /echo HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n"
    )
    assert raw.reply().status == 101
    return raw


def echoes(raw: Raw, text: bytes) -> None:
    raw.send(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
    assert raw._exactly(2 + len(text)) == bytes([0x81, len(text)]) + text


def event(raw: Raw) -> int:
    """The number of the next event."""
    return int(raw._until(b"\n\n\r\n").split(b"data: ")[1])


def test_twenty_websockets_and_twenty_event_streams_leave_two_threads_to_the_others(serve: Serve) -> None:
    instance = serve("--workers", "1", "--threads", "2")
    (worker,) = instance.ready_workers()
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(websocket(instance.port)) for _ in range(20)]
        streams = [stack.enter_context(Raw(instance.port, 60)) for _ in range(20)]
        for raw in streams:
            raw.send("GET /events HTTP/1.1\r\nHost: test\r\n\r\n")
            assert b"text/event-stream" in raw._until(b"\r\n\r\n")
            assert event(raw) == 0
        with ThreadPoolExecutor(4) as clients:  # twice as many as threads
            replies = list(clients.map(lambda number: instance.get(f"/n/{number}"), range(200)))
        assert [reply.body for reply in replies] == [f"GET {number} 0".encode() for number in range(200)]
        for number, raw in enumerate(sockets):
            echoes(raw, b"still here %d" % number)
        assert [event(raw) for raw in streams] == [1] * 20
    assert instance.get("/pid").body == str(worker).encode()
    assert instance.end() == 0
    assert "error" not in instance.log.lower(), instance.log


def in_order(instance: Instance, stuck: str, others: int) -> tuple[list[tuple[str, Reply]], float]:
    """Ask for `stuck`; once that runs, for /pid `others` times at once. Returns the replies as they came, and how long
    the stuck one took."""
    replies: list[tuple[str, Reply]] = []
    took = 0.0

    def ask(target: str) -> None:
        nonlocal took
        began = time.monotonic()
        replies.append((target, instance.get(target)))
        if target == stuck:
            took = time.monotonic() - began

    with ThreadPoolExecutor(others + 1) as clients:
        first = clients.submit(ask, stuck)
        wait_for((instance.directory / "began").exists, "the app's thread began")
        rest = [clients.submit(ask, "/pid") for _ in range(others)]
        for future in [first, *rest]:
            future.result(60)
    return replies, took


@pytest.mark.parametrize("stuck", ["/sleep", "/loop"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_stuck_thread_gets_504_and_the_others_are_served(serve: Serve, stuck: str, workers: int) -> None:
    instance = serve("--workers", str(workers), "--threads", "2", "--timeout", "3")
    before = instance.ready_workers()
    replies, took = in_order(instance, stuck, 20)
    hung = [reply for target, reply in replies if target == stuck]
    assert [reply.status for target, reply in replies if target != stuck] == [200] * 20
    assert [(reply.status, reply.get("x-buchner-error")) for reply in hung] == [(504, "app-timeout")]
    assert 2.9 < took < 10
    if (stuck, workers) != ("/loop", 1):  # that one has to wait for the replacement
        assert replies[-1][0] == stuck, "a thread or a worker that is free serves the others before the time is up"
    instance.says(f"GET {stuck} ")
    instance.says('shop.py", line', 30)
    assert f" in {stuck[1:]}" in instance.log, "the stack shows where"
    assert "passed its app_timeout" in instance.log
    replaced = wait_for(
        lambda: found if len(found := instance.ready_workers()) == workers and set(found) != set(before) else None,
        "the replacement",
        30,
    )
    assert len(set(before) & set(replaced)) == workers - 1, "only the worker of the stuck thread is replaced"
    assert instance.get("/pid").status == 200


def test_a_worker_killed_inside_a_post_answers_502_that_names_the_cause(serve: Serve) -> None:
    instance = serve("--workers", "2")
    for _ in range(3):
        reply = instance.get("/die", "POST", body=b"x")
        assert (reply.status, reply.get("x-buchner-error")) == (502, "worker-died")
        assert instance.get("/n/1").body == b"GET 1 0"
    instance.says('request: "POST /die')
    lines = [line for line in instance.log.splitlines() if 'request: "POST /die' in line]
    assert len(lines) == 3
    assert all("was killed (SIGKILL)" in line for line in lines[:2])
    assert "such requests of this client killed workers" in lines[2], "a third worker is not risked"
    wait_for(lambda: len(instance.ready_workers()) == 2, "both workers are back")


def test_posts_that_no_thread_had_begun_go_to_another_worker(serve: Serve) -> None:
    """What a worker was given and did not begin is not lost with it, whatever the method."""
    instance = serve("--workers", "1", "--threads", "2")
    with ThreadPoolExecutor(8) as clients:
        held = clients.submit(instance.get, "/loop", "POST")
        wait_for((instance.directory / "began").exists, "the app's thread began")
        posts = [clients.submit(instance.get, f"/n/{number}", "POST", body=b"abc") for number in range(6)]
        wait_for(lambda: instance.status()["gateway"]["pools"]["app"]["queued"] == 6, "all were taken back")
        kill(instance.ready_workers()[0])
        assert held.result(30).get("x-buchner-error") == "worker-died"
        assert [post.result(30).body for post in posts] == [b"POST %d 3" % number for number in range(6)]
