"""App routes through a real gateway process: answers, bodies, queues, deaths, timeouts."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from app_driver import AppGateway, dechunk
from helpers.wait import wait_for
from slot_driver import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Environ = dict[str, Any]


@pytest.fixture
def serve() -> Iterator[Callable[..., AppGateway]]:
    made: list[AppGateway] = []

    def make(*args: Any, **options: Any) -> AppGateway:
        made.append(AppGateway(*args, **options))
        return made[-1]

    yield make
    for gateway in made:
        gateway.__exit__()


def hello(_environ: Environ, start: Any) -> list[bytes]:
    start("200 OK", [("Content-Type", "text/plain"), ("X-Own", "1")])
    return [b"hello"]


@pytest.mark.kind("backend app")
def test_an_app_answers(serve: Any) -> None:
    status, head, body = serve(hello).ask()
    assert (status, body) == (200, b"hello")
    assert "X-Own: 1" in head
    assert "Content-Length: 5" in head


def test_the_environ_is_right_without_proxyfix(serve: Any) -> None:
    seen: Environ = {}

    def app(environ: Environ, start: Any) -> list[bytes]:
        seen.update(environ)
        return hello(environ, start)

    gateway = serve(app, mount="/shop")
    headers = (
        "X-Forwarded-For: 6.6.6.6\r\nX-Twice: a\r\nX-Twice: b\r\nCookie: a=1\r\nCookie: b=2\r\n"
        "Proxy: evil\r\nUser-Agent: caf\u00e9\r\nContent-Type: text/x\r\n"
    )
    assert gateway.ask("/shop/a%20b/%C3%A9?q=1&r", headers=headers, method="POST", body=b"12345")[0] == 200
    expected = {
        "REQUEST_METHOD": "POST", "SCRIPT_NAME": "/shop", "PATH_INFO": "/a b/\u00c3\u00a9", "QUERY_STRING": "q=1&r",
        "REQUEST_URI": "/shop/a%20b/%C3%A9?q=1&r", "RAW_URI": "/shop/a%20b/%C3%A9?q=1&r", "SERVER_NAME": "example.com",
        "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1", "wsgi.url_scheme": "http",
        "HTTP_HOST": "example.com", "HTTP_X_TWICE": "a, b", "HTTP_COOKIE": "a=1; b=2", "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "5", "HTTP_USER_AGENT": "caf\u00c3\u00a9",
    }  # fmt: skip
    assert {key: seen.get(key) for key in expected} == expected
    assert seen["REMOTE_PORT"].isdigit()
    assert len(seen["HTTP_X_REQUEST_ID"]) == 32
    assert not {"HTTP_PROXY", "HTTP_X_FORWARDED_FOR", "HTTP_CONTENT_LENGTH"} & seen.keys()


@pytest.mark.parametrize("size", [0, 10, 60_000, 300_000, 5_000_000])
@pytest.mark.parametrize("buffered", [True, False])
def test_bodies_of_all_sizes_reach_the_app_and_come_back(serve: Any, size: int, buffered: bool) -> None:
    def app(environ: Environ, start: Any) -> Iterator[bytes]:
        body = environ["wsgi.input"].read()
        start("200 OK", [])
        for at in range(0, len(body), 100_000):
            yield body[at : at + 100_000]

    body = os.urandom(size)
    status, _head, answer = serve(app, request_buffering=buffered).ask(method="POST", body=body)
    assert status == 200
    assert answer == body


def test_a_chunked_upload_reaches_the_app(serve: Any) -> None:
    def app(environ: Environ, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [environ["wsgi.input"].read(), environ.get("CONTENT_LENGTH", "none").encode()]

    with serve(app).connect() as sock:
        sock.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        data = b""
        while piece := sock.recv(4096):
            data += piece
    assert data.endswith(b"abcde5")


def test_head_has_no_body_and_the_length(serve: Any) -> None:
    def app(_environ: Environ, start: Any) -> list[bytes]:
        start("200 OK", [("Content-Length", "5")])
        return [b"hello"]

    status, head, body = serve(app).ask(method="HEAD")
    assert (status, body) == (200, b"")
    assert "Content-Length: 5" in head


@pytest.mark.parametrize("io_threads", [1, 3])
def test_many_at_once_are_all_answered(serve: Any, io_threads: int) -> None:
    def app(environ: Environ, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    gateway = serve(app, 2, gateway={"io_threads": io_threads})
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda n: gateway.ask(f"/{n}")[2], range(300)))
    assert answers == [f"/{n}".encode() for n in range(300)]


def test_requests_behind_a_slow_one_go_to_another_slot(serve: Any) -> None:
    release = threading.Event()

    def app(environ: Environ, start: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            release.wait(10)
        return hello(environ, start)

    gateway = serve(app, 2)
    with ThreadPoolExecutor(12) as clients:
        slow = clients.submit(gateway.ask, "/slow")
        begun = time.monotonic()
        assert all(answer[0] == 200 for answer in clients.map(lambda _: gateway.ask("/"), range(50)))
        assert time.monotonic() - begun < 5
        assert not slow.done()
        release.set()
        assert slow.result()[0] == 200


def test_a_full_queue_and_a_long_wait_are_503_with_retry_after(serve: Any) -> None:
    release = threading.Event()

    def app(environ: Environ, start: Any) -> list[bytes]:
        release.wait(10)
        return hello(environ, start)

    gateway = serve(app, 1, pool={"queue": 1, "queue_timeout": 300, "look_ahead": 1})
    with ThreadPoolExecutor(4) as clients:
        first = clients.submit(gateway.ask)
        until(lambda: gateway.slots[0].stats()["busy"] == 1)
        begun = time.monotonic()
        others = [clients.submit(gateway.ask) for _ in range(2)]
        results = [other.result() for other in others]
        assert [result[0] for result in results] == [503, 503]
        assert all("Retry-After" in result[1] for result in results)
        assert time.monotonic() - begun < 3
        release.set()
        assert first.result()[0] == 200


def test_a_request_that_takes_too_long_is_504_and_told_as_stuck(serve: Any) -> None:
    release = threading.Event()

    def app(environ: Environ, start: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/stuck":
            release.wait(10)
        return hello(environ, start)

    gateway = serve(app, 2, app_timeout=300)
    begun = time.monotonic()
    assert gateway.ask("/stuck")[0] == 504
    assert 0.25 < time.monotonic() - begun < 2
    event = gateway.wait("stuck")
    assert (event["worker"], event["pool"], event["request"]) == (1, "app", "GET /stuck")
    assert event["thread_ms"] >= 300
    assert gateway.ask("/")[0] == 200
    release.set()
    until(lambda: gateway.slots[0].stats()["busy"] == 0)
    assert [gateway.ask("/")[0] for _ in range(4)] == [200] * 4


def test_an_app_that_raises_is_500_and_the_page_keeps_the_traceback_to_itself(serve: Any) -> None:
    def app(_environ: Environ, _start: Any) -> list[bytes]:
        raise ValueError("secret words")

    status, _head, body = serve(app).ask()
    assert status == 500
    assert b"secret words" not in body


def test_an_app_that_fails_in_its_body_breaks_the_connection_off(serve: Any) -> None:
    def app(_environ: Environ, start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        yield b"begun"
        raise ValueError

    with pytest.raises(AssertionError, match=r"broken off|cut short"):
        serve(app).ask()


WORKER = """
import os, sys, time
from buchner import _native
def app(environ, start):
    if environ["PATH_INFO"] == "/die":
        os.kill(os.getpid(), 9)
    start("200 OK", [])
    return [str(os.getpid()).encode()]
fds = [int(n) for n in sys.argv[1:]]
slots = _native.Slots(app, len(fds) - 1)
slots.attach(fds[0], fds[1:], 0, 1)
slots.start()
time.sleep(60)
"""


def spawn(gateway: AppGateway, slots: int = 1, kept: list[int] | None = None) -> subprocess.Popen[bytes]:
    """Start a worker process; `kept` gets descriptors of its slots' sockets."""
    memfd, fds = gateway.pairs(slots)
    if kept is not None:
        kept += map(os.dup, fds)
    process = subprocess.Popen([sys.executable, "-c", WORKER, *map(str, [memfd, *fds])], pass_fds=[memfd, *fds])
    for fd in (memfd, *fds):
        os.close(fd)
    return process


def test_a_worker_killed_inside_a_post_is_502_that_names_the_cause(serve: Any) -> None:
    gateway = serve(None, gateway={"development": True})
    worker = spawn(gateway)
    with ThreadPoolExecutor(1) as client:
        answer = client.submit(gateway.ask, "/die", "POST", b"x")
        worker.wait(10)
        gateway.send({"op": "gone", "worker": 1, "cause": "was killed by signal 9"})
        status, _head, body = answer.result()
    assert status == 502
    assert b"killed by signal 9" in body


def test_a_get_whose_worker_dies_is_answered_by_another(serve: Any) -> None:
    gateway = serve(None)
    offered: list[int] = []
    dying = spawn(gateway, kept=offered)
    try:
        assert gateway.ask("/")[2] == str(dying.pid).encode()
        with ThreadPoolExecutor(1) as client:
            os.kill(dying.pid, signal.SIGSTOP)
            # The signal is only sent by now: a thread that it finds in recv(2) still takes what comes before it stops.
            assert os.WIFSTOPPED(os.waitpid(dying.pid, os.WUNTRACED)[1])
            answer = client.submit(gateway.ask)
            wait_for(lambda: select.select(offered, [], [], 0)[0], "the request was offered to the slot")
            for fd in offered:  # the gateway sees the end of the worker by that of its sockets
                os.close(fd)
            os.kill(dying.pid, signal.SIGKILL)
            dying.wait()
            gateway.add(hello, 1)
            assert answer.result()[2] == b"hello"
    finally:
        dying.kill()
        dying.wait()


def test_a_retired_worker_gets_nothing_new_and_is_told(serve: Any) -> None:
    release = threading.Event()

    def old(environ: Environ, start: Any) -> list[bytes]:
        release.wait(10)
        return hello(environ, start)

    gateway = serve(old)
    with ThreadPoolExecutor(1) as client:
        running = client.submit(gateway.ask)
        until(lambda: gateway.slots[0].stats()["busy"] == 1)
        gateway.add(lambda _e, start: (start("200 OK", []), [b"new"])[1], 1)
        gateway.send({"op": "retire", "worker": 1})
        until(lambda: gateway.ask()[2] == b"new")
        release.set()
        assert running.result()[2] == b"hello"
        assert gateway.wait("retired")["worker"] == 1
    assert gateway.slots[0].stop(5)


def test_an_idle_worker_retires_at_once(serve: Any) -> None:
    gateway = serve(hello)
    gateway.ask()
    gateway.send({"op": "retire", "worker": 1})
    assert gateway.wait("retired")["worker"] == 1


def test_an_event_stream_arrives_piece_by_piece_and_leaves_its_slot(serve: Any) -> None:
    go = threading.Event()

    def app(environ: Environ, start: Any) -> Any:
        return events(start) if environ["PATH_INFO"] == "/events" else hello(environ, start)

    def events(start: Any) -> Iterator[bytes]:
        start("200 OK", [("Content-Type", "text/event-stream")])
        yield b"data: 1\n\n"
        assert go.wait(10)
        yield b"data: 2\n\n"

    gateway = serve(app)
    with gateway.connect() as sock:
        sock.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        data = b""
        while b"data: 1" not in data:
            data += sock.recv(4096)
        assert gateway.ask("/")[2] == b"hello"
        go.set()
        while not data.endswith(b"0\r\n\r\n"):
            data += sock.recv(4096)
        assert b"data: 2" in data


def test_file_wrapper_is_sent_as_a_file(serve: Any, tmp_path: Any) -> None:
    path = tmp_path / "big"
    path.write_bytes(os.urandom(1_000_000))

    def app(environ: Environ, start: Any) -> Any:
        start("200 OK", [("Content-Length", "999000")])
        file = path.open("rb")
        file.seek(1000)
        return environ["wsgi.file_wrapper"](file)

    assert serve(app).ask()[2] == path.read_bytes()[1000:]


def test_a_websocket_goes_through(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    flask = pytest.importorskip("flask")
    flask_sock = pytest.importorskip("flask_sock")
    app = flask.Flask(__name__)

    @flask_sock.Sock(app).route("/echo")  # type: ignore[untyped-decorator]
    def echo(ws: Any) -> None:
        while (text := ws.receive()) != "bye":
            ws.send(text[::-1])

    app.route("/")(lambda: "page")
    gateway = serve(app)
    with gateway.connect() as sock, sock.makefile("rb") as file:
        sock.sendall(
            b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert file.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
        head = []
        while (line := file.readline()) != b"\r\n":
            head.append(line.lower())
        assert b"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n" in head
        sock.sendall(b"\x81\x83\0\0\0\0abc")
        assert file.read(5) == b"\x81\x03cba"
        assert gateway.ask("/")[2] == b"page"
        sock.sendall(b"\x81\x83\0\0\0\0bye")
        assert file.read(1) == b"\x88"
    until(lambda: gateway.slots[0].stats()["detached"] == 0)
    assert not caplog.records, "flask-sock's response behind a WebSocket is no error"


def test_a_client_that_leaves_frees_its_slot(serve: Any) -> None:
    ended = threading.Event()

    def app(environ: Environ, start: Any) -> Any:
        return endless(start) if environ["PATH_INFO"] == "/endless" else hello(environ, start)

    def endless(start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        try:
            while True:
                yield b"x" * 10_000
        finally:
            ended.set()

    gateway = serve(app)
    sock = gateway.connect()
    sock.sendall(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
    assert sock.recv(100)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
    assert ended.wait(10)
    assert gateway.ask("/")[2] == b"hello"


def test_a_slow_client_does_not_hold_the_slot(serve: Any) -> None:
    body = os.urandom(20_000_000)

    def app(environ: Environ, start: Any) -> Any:
        if environ["PATH_INFO"] != "/big":
            return hello(environ, start)
        start("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    gateway = serve(app)
    with gateway.connect() as sock:
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        data = sock.recv(1000)
        begun = time.monotonic()
        assert gateway.ask("/")[2] == b"hello"
        assert time.monotonic() - begun < 5
        pieces = [data]
        while piece := sock.recv(1 << 20):
            pieces.append(piece)
    assert b"".join(pieces).partition(b"\r\n\r\n")[2] == body


def test_beyond_buffer_spool_the_slot_waits_for_the_client(serve: Any) -> None:
    body = os.urandom(9_000_000)

    def app(_environ: Environ, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [body]

    gateway = serve(app, buffer_spool=1_000_000)
    with gateway.connect() as sock:
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        data = sock.recv(1000)
        time.sleep(0.5)
        assert gateway.slots[0].stats()["busy"] == 1
        while piece := sock.recv(1 << 20):
            data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    assert (dechunk(rest) if b"hunked" in head else rest) == body


def test_twenty_event_streams_leave_two_slots_free(serve: Any) -> None:
    go = threading.Event()

    def app(environ: Environ, start: Any) -> Any:
        return events(start) if environ["PATH_INFO"] == "/events" else hello(environ, start)

    def events(start: Any) -> Iterator[bytes]:
        start("200 OK", [("Content-Type", "text/event-stream")])
        yield b"data: 1\n\n"
        go.wait(20)
        yield b"data: 2\n\n"

    gateway = serve(app, 2)
    streams = [gateway.connect() for _ in range(20)]
    for sock in streams:
        sock.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    until(lambda: gateway.slots[0].stats()["detached"] == 20)
    assert [gateway.ask("/")[2] for _ in range(20)] == [b"hello"] * 20
    go.set()
    for sock in streams:
        data = b""
        while piece := sock.recv(4096):
            data += piece
        sock.close()
        assert b"data: 1" in data
        assert b"data: 2" in data
    until(lambda: gateway.slots[0].stats()["detached"] == 0)
