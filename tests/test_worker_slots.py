"""The worker's slot loop over real sockets: PEP 3333, streams, files, upgrades, claims."""

from __future__ import annotations

import io
import logging
import os
import socket
import struct
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest

from buchner import _native
from slot_driver import (
    ABORT,
    BODY,
    COMPLETE,
    DETACHED,
    END,
    FAILED,
    FILE,
    REQUEST_ABORT,
    REQUEST_BODY,
    REQUEST_END,
    SKIPPED,
    SPOOLED,
    STOP,
    STREAMED,
    UPGRADE,
    UPGRADED,
    Gateway,
    Peer,
    frame,
    request,
    until,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Start = Any
Environ = dict[str, Any]


@pytest.fixture
def serve() -> Iterator[Callable[..., Gateway]]:
    made: list[Gateway] = []

    def make(app: Callable[..., Any], *args: Any, **options: Any) -> Gateway:
        made.append(Gateway(app, *args, **options))
        return made[-1]

    yield make
    for gateway in made:
        gateway.close()


def plain(start: Start, *extra: tuple[str, str]) -> Any:
    return start("200 OK", [("Content-Type", "text/plain"), *extra])


def hello(_environ: Environ, start: Start) -> list[bytes]:
    plain(start)
    return [b"hel", b"lo"]


def test_a_small_answer_is_one_complete_frame(serve: Any) -> None:
    answer = serve(hello).ask()
    assert (answer.status, answer.reason, answer.flags, answer.body) == (200, "OK", COMPLETE, b"hello")
    assert answer.headers == [("Content-Type", "text/plain")]


def test_requests_that_wait_are_answered_in_order(serve: Any) -> None:
    def app(environ: Environ, start: Start) -> list[bytes]:
        plain(start)
        return [environ["PATH_INFO"].encode()]

    peer = serve(app).peers[0]
    peer.send(b"".join(request(f"/{n}") for n in range(50)))
    assert [peer.answer().body for _ in range(50)] == [f"/{n}".encode() for n in range(50)]


def test_a_request_may_come_byte_by_byte(serve: Any) -> None:
    peer = serve(hello).peers[0]
    for byte in request(body=b"x"):
        peer.send(bytes([byte]))
    assert peer.answer().body == b"hello"


def test_the_environ_is_as_pep_3333_says(serve: Any) -> None:
    seen: Environ = {}

    def app(environ: Environ, start: Start) -> list[bytes]:
        seen.update(environ)
        return hello(environ, start)

    serve(app, 2).ask("/caf\u00c3\u00a9", headers=[("HTTP_X_OWN", "\u00fcber")])
    assert type(seen) is dict
    assert seen["PATH_INFO"] == "/caf\u00c3\u00a9"
    assert seen["HTTP_X_OWN"] == "\u00fcber"
    assert seen["wsgi.version"] == (1, 0)
    assert (seen["wsgi.multithread"], seen["wsgi.multiprocess"], seen["wsgi.run_once"]) == (True, True, False)
    assert seen["wsgi.input_terminated"] is True
    assert seen["wsgi.input"].read() == b""
    assert seen["wsgi.url_scheme"] == "http"


def test_one_request_leaves_nothing_in_the_next_environ(serve: Any) -> None:
    seen: list[Environ] = []

    def app(environ: Environ, start: Start) -> list[bytes]:
        environ["mine"] = 1
        seen.append(dict(environ))
        return hello(environ, start)

    gateway = serve(app)
    gateway.ask("/a", headers=[("HTTP_X_OWN", "1")])
    gateway.ask("/b")
    assert seen[1]["PATH_INFO"] == "/b"
    assert "HTTP_X_OWN" not in seen[1]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_wsgiref_validate_finds_nothing(serve: Any, method: str) -> None:
    def app(environ: Environ, start: Start) -> list[bytes]:
        body = environ["wsgi.input"].read(5)
        plain(start, ("Content-Length", "5"))
        return [] if method == "HEAD" else [body or b"empty"]

    answer = serve(validator(app)).ask(method=method, body=b"hello" if method == "POST" else b"")
    assert (answer.status, answer.flags) == (200, COMPLETE)
    assert answer.body == {"GET": b"empty", "HEAD": b"", "POST": b"hello"}[method]


def test_each_chunk_of_a_generator_is_sent_before_the_next_is_asked_for(serve: Any) -> None:
    go = threading.Event()

    def app(_environ: Environ, start: Start) -> Iterator[bytes]:
        plain(start)
        yield b"one"
        assert go.wait(5)
        yield b""
        yield b"two"

    gateway = serve(app)
    gateway.peers[0].send(request())
    first = gateway.peers[0].frame()
    assert (first.flags, first.body) == (0, b"one")
    go.set()
    second, last = gateway.peers[0].frame(), gateway.peers[0].frame()
    assert (second.kind, second.body, last.kind) == (BODY, b"two", END)


def test_a_generator_that_keeps_its_content_length_is_one_frame(serve: Any) -> None:
    def app(_environ: Environ, start: Start) -> Iterator[bytes]:
        plain(start, ("Content-Length", "5"))
        yield b"hello"

    answer = serve(app).ask()
    assert (answer.flags, answer.body) == (COMPLETE, b"hello")


def test_a_body_beyond_its_content_length_is_cut(serve: Any) -> None:
    def app(_environ: Environ, start: Start) -> list[bytes]:
        plain(start, ("Content-Length", "3"))
        return [b"hel", b"lo"]

    assert serve(app).ask().body == b"hel"


def test_a_body_shorter_than_its_content_length_is_broken_off(serve: Any) -> None:
    def app(_environ: Environ, start: Start) -> Iterator[bytes]:
        plain(start, ("Content-Length", "9"))
        yield b"hel"
        yield b"lo"

    answer = serve(app).ask()
    assert (answer.kind, answer.body) == (ABORT, b"hello")


def test_a_large_body_arrives_whole(serve: Any) -> None:
    body = os.urandom(3_000_000)

    def app(_environ: Environ, start: Start) -> list[bytes]:
        plain(start)
        return [body]

    answer = serve(app).ask()
    assert answer.kind == END
    assert answer.body == body


def test_the_write_callable_sends_at_once(serve: Any) -> None:
    def app(_environ: Environ, start: Start) -> list[bytes]:
        write = plain(start)
        write(b"one")
        write(b"two")
        return [b"three"]

    answer = serve(app).ask()
    assert (answer.kind, answer.body) == (END, b"onetwothree")


class Closing:
    def __init__(self, chunks: list[bytes], fails: bool = False, slow: float = 0.0) -> None:
        self.chunks, self.fails, self.slow, self.closed = iter(chunks), fails, slow, threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        yield from self.chunks
        if self.fails:
            raise ValueError("in the middle")

    def close(self) -> None:
        time.sleep(self.slow)
        self.closed.set()


@pytest.mark.parametrize("fails", [False, True])
def test_close_is_called_whatever_happens(serve: Any, fails: bool) -> None:
    result = Closing([b"x"], fails)

    def app(_environ: Environ, start: Start) -> Closing:
        plain(start)
        return result

    answer = serve(app).ask()
    assert answer.kind == (ABORT if fails else END)
    assert result.closed.wait(5)


def test_after_a_slow_close_answers_leave_before_they_are_closed(serve: Any) -> None:
    def app(_environ: Environ, start: Start) -> Closing:
        plain(start, ("Content-Length", "2"))
        return Closing([b"ok"], slow=0.3)

    gateway = serve(app)
    assert gateway.ask().flags == COMPLETE
    begun = time.monotonic()
    gateway.peers[0].send(request())
    assert gateway.peers[0].frame().body == b"ok"
    assert time.monotonic() - begun < 0.25
    assert gateway.peers[0].frame().kind == END


def test_an_exception_before_the_head_is_a_500_with_the_traceback_in_the_log(
    serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def app(_environ: Environ, _start: Start) -> list[bytes]:
        raise ValueError("broken on purpose")

    with caplog.at_level(logging.ERROR, "buchner.worker"):
        answer = serve(app).ask("/here", headers=[("HTTP_X_REQUEST_ID", "id-7")])
    assert (answer.status, answer.flags) == (500, COMPLETE | FAILED)
    assert b"broken on purpose" in answer.body
    assert "GET /here" in caplog.text
    assert "id-7" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_app_that_raises_systemexit_does_not_end_its_slot(serve: Any, kind: type[BaseException]) -> None:
    def app(environ: Environ, start: Start) -> list[bytes]:
        if environ["PATH_INFO"] == "/exit":
            raise kind
        return hello(environ, start)

    gateway = serve(app)
    assert gateway.ask("/exit").status == 500
    assert gateway.ask("/").body == b"hello"


def test_exc_info_replaces_the_head_until_it_is_sent(serve: Any) -> None:
    def app(environ: Environ, start: Start) -> Any:
        write = plain(start)
        if environ["PATH_INFO"] == "/late":
            write(b"begun")
        try:
            raise ValueError("first")  # noqa: TRY301
        except ValueError:
            start("503 Sorry", [("X-Second", "1")], sys.exc_info())
        return [b"sorry"]

    gateway = serve(app)
    early = gateway.ask("/early")
    assert (early.status, early.headers, early.body) == (503, [("X-Second", "1")], b"sorry")
    late = gateway.ask("/late")
    assert (late.kind, late.status, late.body) == (ABORT, 200, b"begun")


BAD_HEADS: list[tuple[Any, Any, bytes]] = [
    ("200", [("A", "b\r\nC: d")], b"control characters"),
    ("OK", [], b"three digits"),
    (b"200 OK", [], b"must be a str"),
    ("200 O\nK", [], b"three digits"),
    ("200 OK", (("A", "b"),), b"must be a list"),
    ("200 OK", [["A", "b"]], b"must be a tuple"),
    ("200 OK", [("A", 1)], b"must be a str, not int"),
    ("200 OK", [("A b", "c")], b"not a header name"),
    ("200 OK", [("A", "\u20ac")], b"outside Latin-1"),
    ("200 OK", [("Connection", "close")], b"gateway's"),
    ("200 OK", [("Content-Length", "-1")], b"number of bytes"),
    ("200 OK", [("Content-Length", "1"), ("Content-Length", "2")], b"two different"),
]


@pytest.mark.parametrize(("status", "headers", "words"), BAD_HEADS)
def test_a_wrong_head_is_the_apps_error_and_says_what_is_wrong(
    serve: Any, status: Any, headers: Any, words: bytes
) -> None:
    def app(_environ: Environ, start: Start) -> list[bytes]:
        start(status, headers)
        return [b"x"]

    answer = serve(app).ask()
    assert (answer.status, answer.flags) == (500, COMPLETE | FAILED)
    assert words in answer.body


@pytest.mark.parametrize("result", [["text"], "text", None, [b"x", 1], 7])
def test_a_body_that_is_not_bytes_is_the_apps_error(serve: Any, result: Any) -> None:
    def app(_environ: Environ, start: Start) -> Any:
        plain(start)
        return result

    assert serve(app).ask().flags == COMPLETE | FAILED


def test_an_app_without_start_response_is_an_error(serve: Any) -> None:
    answer = serve(lambda _environ, _start: []).ask()
    assert answer.status == 500
    assert b"start_response" in answer.body


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_statuses_without_a_body_send_none(serve: Any, status: str) -> None:
    def app(_environ: Environ, start: Start) -> Iterator[bytes]:
        start(status, [])
        yield b"x"

    answer = serve(app).ask()
    assert (answer.flags, answer.body) == (COMPLETE, b"")


def test_objects_of_a_request_that_is_over_are_refused(serve: Any) -> None:
    kept: list[Any] = []

    def app(_environ: Environ, start: Start) -> list[bytes]:
        kept.append(plain(start))
        if len(kept) > 1:
            with pytest.raises(RuntimeError, match="over"):
                kept[0](b"into another answer")
        return [b"fine"]

    gateway = serve(app)
    assert gateway.ask().body == b"fine"
    assert gateway.ask().body == b"fine"


BODY_TEXT = b"first line\nsecond\n\nlast without newline"
READERS: list[tuple[Callable[[Any], Any], Any]] = [
    (lambda f: f.read(), BODY_TEXT),
    (lambda f: (f.read(3), f.read(0), f.read(-1), f.read(9)), (b"fir", b"", BODY_TEXT[3:], b"")),
    (list, io.BytesIO(BODY_TEXT).readlines()),
    (lambda f: f.readlines(), io.BytesIO(BODY_TEXT).readlines()),
    (lambda f: f.readlines(3), [b"first line\n"]),
    (lambda f: (f.readline(4), f.readline(), f.readline()), (b"firs", b"t line\n", b"second\n")),
    (lambda f: io.BufferedReader(Raw(f)).read(), BODY_TEXT),
]


class Raw(io.RawIOBase):
    def __init__(self, file: Any) -> None:
        self.file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return int(self.file.readinto(buffer))


@pytest.mark.parametrize("how", ["inline", "spooled", "streamed"])
@pytest.mark.parametrize("index", range(len(READERS)))
def test_the_body_reads_like_a_file(serve: Any, how: str, index: int) -> None:
    reader, expected = READERS[index]
    got: list[Any] = []

    def app(environ: Environ, start: Start) -> list[bytes]:
        got.append(reader(environ["wsgi.input"]))
        return hello(environ, start)

    peer = serve(app).peers[0]
    send_body(peer, how, BODY_TEXT)
    assert peer.answer().status == 200
    assert got == [expected]


def send_body(peer: Peer, how: str, body: bytes) -> None:
    if how == "inline":
        peer.send(request(method="POST", body=body))
    elif how == "spooled":
        with tempfile.TemporaryFile() as file:
            file.write(body)
            file.flush()
            peer.send(request(method="POST", flags=SPOOLED, length=len(body)), file.fileno())
    else:
        peer.send(request(method="POST", flags=STREAMED, length=len(body)))
        for at in range(0, len(body), 7):
            peer.send(frame(REQUEST_BODY, body[at : at + 7]))
        peer.send(frame(REQUEST_END))


def test_a_streamed_body_that_nobody_reads_does_not_disturb_the_next_request(serve: Any) -> None:
    peer = serve(hello).peers[0]
    for how in ("streamed", "spooled", "streamed", "inline"):
        send_body(peer, how, b"z" * 100)
        assert peer.answer().body == b"hello"


def test_a_client_that_goes_away_in_its_body_is_an_oserror(serve: Any) -> None:
    seen: list[BaseException] = []

    def app(environ: Environ, start: Start) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            seen.append(error)
        return hello(environ, start)

    peer = serve(app).peers[0]
    peer.send(request(method="POST", flags=STREAMED) + frame(REQUEST_BODY, b"x") + frame(REQUEST_ABORT))
    assert peer.answer().status == 200
    assert isinstance(seen[0], OSError)


def test_file_wrapper_passes_the_descriptor(serve: Any) -> None:
    def app(environ: Environ, start: Start) -> Any:
        file = tempfile.TemporaryFile()  # noqa: SIM115
        file.write(b"0123456789")
        file.seek(4)
        plain(start, *([("Content-Length", "3")] if environ["PATH_INFO"] == "/part" else []))
        return environ["wsgi.file_wrapper"](file)

    gateway = serve(app)
    for path, length in (("/", 6), ("/part", 3)):
        answer = gateway.ask(path)
        assert answer.flags == COMPLETE | FILE
        assert struct.unpack("<QQ", answer.body) == (4, length)
        assert os.pread(answer.fds[0], length, 4) == b"0123456789"[4 : 4 + length]
        os.close(answer.fds[0])


def test_file_wrapper_iterates_what_is_no_file(serve: Any) -> None:
    def app(environ: Environ, start: Start) -> Any:
        plain(start)
        return environ["wsgi.file_wrapper"](io.BytesIO(b"abcdef"), 4)

    assert serve(app).ask().body == b"abcdef"


def test_an_event_stream_leaves_its_slot(serve: Any) -> None:
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

    gateway = serve(app)
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


def test_beyond_max_detached_an_event_stream_stays_on_its_slot(serve: Any) -> None:
    def app(_environ: Environ, start: Start) -> Iterator[bytes]:
        start("200 OK", [("Content-Type", "text/event-stream")])
        yield b"a"
        yield b"b"

    answer = serve(app, max_detached=0).ask()
    assert (answer.kind, answer.body) == (END, b"ab")


def test_a_request_that_was_taken_back_is_skipped(serve: Any) -> None:
    gateway = serve(hello)
    struct.pack_into("<II", gateway.claims, 0, 5 << 2 | 1, 5 << 2 | 3)
    peer = gateway.peers[0]
    peer.send(request(claim=(0, 5)) + request(claim=(1, 5)) + request(claim=(0, 4)) + request())
    assert [peer.answer().kind for _ in range(3)] == [16, SKIPPED, SKIPPED]
    assert peer.answer().body == b"hello"
    assert struct.unpack_from("<I", gateway.claims) == (5 << 2 | 2,)


def test_an_endless_answer_that_nobody_wants_is_stopped(serve: Any) -> None:
    ended = threading.Event()

    def app(environ: Environ, start: Start) -> Any:
        return endless(start) if environ["PATH_INFO"] == "/endless" else hello(environ, start)

    def endless(start: Start) -> Iterator[bytes]:
        plain(start)
        try:
            while True:
                yield b"x" * 1000
        finally:
            ended.set()

    peer = serve(app).peers[0]
    peer.send(request("/endless"))
    assert peer.frame().status == 200
    peer.send(request("/") + frame(STOP, struct.pack("<I", 1)))
    assert ended.wait(5) or peer.answer()
    while (last := peer.frame()).kind == BODY:
        pass
    assert last.kind == ABORT
    assert peer.answer().body == b"hello"


def test_a_gateway_that_ends_costs_the_slot_nothing(serve: Any) -> None:
    gateway = serve(hello, 2, 2)
    for peer in gateway.peers:
        peer.sock.close()
    gateway.peers.clear()
    gateway.attach()
    for peer in gateway.peers:
        peer.send(request())
        assert peer.answer().body == b"hello"


def test_two_gateways_are_served_side_by_side(serve: Any) -> None:
    gateway = serve(hello)
    gateway.attach()
    for _ in range(3):
        for peer in gateway.peers:
            peer.send(request())
        assert [peer.answer().body for peer in gateway.peers] == [b"hello"] * 2


def test_max_requests_is_told_once_and_serving_goes_on(serve: Any) -> None:
    told: list[str] = []
    gateway = serve(hello, max_requests=2, on_recycle=told.append)
    for _ in range(4):
        gateway.ask()
    assert len(told) == 1
    assert "max_requests" in told[0]


def test_slots_are_python_threads(serve: Any) -> None:
    def app(_environ: Environ, start: Start) -> list[bytes]:
        plain(start)
        return [threading.current_thread().name.encode()]

    assert serve(app).ask().body == b"slot-0"


def test_stop_lets_a_running_request_finish() -> None:
    entered = threading.Event()

    def app(environ: Environ, start: Start) -> list[bytes]:
        entered.set()
        time.sleep(0.2)
        return hello(environ, start)

    gateway = Gateway(app)
    gateway.peers[0].send(request())
    assert entered.wait(5)
    assert gateway.slots.stop(0.01) is False
    assert gateway.slots.stop(5) is True
    assert gateway.peers[0].answer().body == b"hello"
    gateway.close()


def test_a_wrong_attach_is_refused() -> None:
    slots = _native.Slots(hello, 1)
    memfd = os.memfd_create("claims")
    os.ftruncate(memfd, 4096)
    pairs = [socket.socketpair() for _ in range(2)]
    with pytest.raises(ValueError, match="1 slots"):
        slots.attach(memfd, [theirs.detach() for _ours, theirs in pairs], 0, 1)
    for ours, _theirs in pairs:
        assert ours.recv(1) == b""
        ours.close()


def test_a_websocket_of_flask_sock_works(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    flask = pytest.importorskip("flask")
    flask_sock = pytest.importorskip("flask_sock")
    app = flask.Flask(__name__)
    sock = flask_sock.Sock(app)

    @sock.route("/echo")  # type: ignore[untyped-decorator]
    def echo(ws: Any) -> None:
        while (text := ws.receive()) != "bye":
            ws.send(text[::-1])

    app.route("/")(lambda: "page")
    gateway = serve(app)
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


def test_an_upgrade_that_the_app_refuses_is_an_ordinary_answer(serve: Any) -> None:
    answer = serve(hello).ask(flags=UPGRADE)
    assert (answer.flags, answer.body) == (COMPLETE, b"hello")


def test_beyond_max_detached_an_upgrade_holds_its_slot(serve: Any) -> None:
    def app(environ: Environ, _start: Start) -> list[bytes]:
        environ["werkzeug.socket"].sendall(b"raw")
        return []

    gateway = serve(app, max_detached=0)
    answer = gateway.ask(flags=UPGRADE)
    assert (answer.kind, answer.flags) == (UPGRADED, 1)
    assert os.read(answer.fds[0], 10) == b"raw"
    os.close(answer.fds[0])
    assert gateway.peers[0].frame().kind == END
