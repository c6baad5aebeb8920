"""The answers of an app over a slot: heads, bodies, closing, mistakes of the app, files."""

from __future__ import annotations

import gzip
import io
import logging
import os
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slot_driver import ABORT, BODY, COMPLETE, END, FAILED, FILE, Environ, Start, hello, plain, request

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_small_answer_is_one_complete_frame(serve_slots: Any) -> None:
    answer = serve_slots(hello).ask()
    assert (answer.status, answer.reason, answer.flags, answer.body) == (200, "OK", COMPLETE, b"hello")
    assert answer.headers == [("Content-Type", "text/plain")]


def test_each_chunk_of_a_generator_is_sent_before_the_next_is_asked_for(serve_slots: Any) -> None:
    go = threading.Event()

    def app(_environ: Environ, start: Start) -> Iterator[bytes]:
        plain(start)
        yield b"one"
        assert go.wait(5)
        yield b""
        yield b"two"

    gateway = serve_slots(app)
    gateway.peers[0].send(request())
    first = gateway.peers[0].frame()
    assert (first.flags, first.body) == (0, b"one")
    go.set()
    second, last = gateway.peers[0].frame(), gateway.peers[0].frame()
    assert (second.kind, second.body, last.kind) == (BODY, b"two", END)


def test_a_generator_that_keeps_its_content_length_is_one_frame(serve_slots: Any) -> None:
    def app(_environ: Environ, start: Start) -> Iterator[bytes]:
        plain(start, ("Content-Length", "5"))
        yield b"hello"

    answer = serve_slots(app).ask()
    assert (answer.flags, answer.body) == (COMPLETE, b"hello")


def test_a_body_beyond_its_content_length_is_cut(serve_slots: Any) -> None:
    def app(_environ: Environ, start: Start) -> list[bytes]:
        plain(start, ("Content-Length", "3"))
        return [b"hel", b"lo"]

    assert serve_slots(app).ask().body == b"hel"


def test_a_body_shorter_than_its_content_length_is_broken_off(serve_slots: Any) -> None:
    def app(_environ: Environ, start: Start) -> Iterator[bytes]:
        plain(start, ("Content-Length", "9"))
        yield b"hel"
        yield b"lo"

    answer = serve_slots(app).ask()
    assert (answer.kind, answer.body) == (ABORT, b"hello")


def test_a_large_body_arrives_whole(serve_slots: Any) -> None:
    body = os.urandom(3_000_000)

    def app(_environ: Environ, start: Start) -> list[bytes]:
        plain(start)
        return [body]

    answer = serve_slots(app).ask()
    assert answer.kind == END
    assert answer.body == body


def test_the_write_callable_sends_at_once(serve_slots: Any) -> None:
    def app(_environ: Environ, start: Start) -> list[bytes]:
        write = plain(start)
        write(b"one")
        write(b"two")
        return [b"three"]

    answer = serve_slots(app).ask()
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
def test_close_is_called_whatever_happens(serve_slots: Any, fails: bool) -> None:
    result = Closing([b"x"], fails)

    def app(_environ: Environ, start: Start) -> Closing:
        plain(start)
        return result

    answer = serve_slots(app).ask()
    assert answer.kind == (ABORT if fails else END)
    assert result.closed.wait(5)


def test_after_a_slow_close_answers_leave_before_they_are_closed(serve_slots: Any) -> None:
    def app(_environ: Environ, start: Start) -> Closing:
        plain(start, ("Content-Length", "2"))
        return Closing([b"ok"], slow=0.3)

    gateway = serve_slots(app)
    assert gateway.ask().flags == COMPLETE
    begun = time.monotonic()
    gateway.peers[0].send(request())
    assert gateway.peers[0].frame().body == b"ok"
    assert time.monotonic() - begun < 0.25
    assert gateway.peers[0].frame().kind == END


def test_an_exception_before_the_head_is_a_500_with_the_traceback_in_the_log(
    serve_slots: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def app(_environ: Environ, _start: Start) -> list[bytes]:
        raise ValueError("broken on purpose")

    with caplog.at_level(logging.ERROR, "buchner.worker"):
        answer = serve_slots(app).ask("/here", headers=[("HTTP_X_REQUEST_ID", "id-7")])
    assert (answer.status, answer.flags) == (500, COMPLETE | FAILED)
    assert b"broken on purpose" in answer.body
    assert "GET /here" in caplog.text
    assert "id-7" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_app_that_raises_systemexit_does_not_end_its_slot(serve_slots: Any, kind: type[BaseException]) -> None:
    def app(environ: Environ, start: Start) -> list[bytes]:
        if environ["PATH_INFO"] == "/exit":
            raise kind
        return hello(environ, start)

    gateway = serve_slots(app)
    assert gateway.ask("/exit").status == 500
    assert gateway.ask("/").body == b"hello"


def test_exc_info_replaces_the_head_until_it_is_sent(serve_slots: Any) -> None:
    def app(environ: Environ, start: Start) -> Any:
        write = plain(start)
        if environ["PATH_INFO"] == "/late":
            write(b"begun")
        try:
            raise ValueError("first")  # noqa: TRY301
        except ValueError:
            start("503 Sorry", [("X-Second", "1")], sys.exc_info())
        return [b"sorry"]

    gateway = serve_slots(app)
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
    ("100 Continue", [], b"interim (1xx)"),
    ("200 OK", [("Transfer-Encoding", "gzip, chunked")], b"gateway's"),
    ("200 OK", [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")], b"gateway's"),
    ("200 OK", [("Connection", "a\r\nB: c")], b"control characters"),
    ("200 OK", [("Keep-Alive", 5)], b"must be a str, not int"),
    ("200 OK", [("Connection", "A"), ("A", "b\n")], b"control characters"),
    ("200 OK", [("Content-Length", "-1")], b"number of bytes"),
    ("200 OK", [("Content-Length", "1"), ("Content-Length", "2")], b"two different"),
]


@pytest.mark.parametrize(("status", "headers", "words"), BAD_HEADS)
def test_a_wrong_head_is_the_apps_error_and_says_what_is_wrong(
    serve_slots: Any, status: Any, headers: Any, words: bytes
) -> None:
    def app(_environ: Environ, start: Start) -> list[bytes]:
        start(status, headers)
        return [b"x"]

    answer = serve_slots(app).ask()
    assert (answer.status, answer.flags) == (500, COMPLETE | FAILED)
    assert words in answer.body


OF_THE_CONNECTION = [
    ("Connection", "keep-alive"),
    ("connection", "close"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Connection", "keep-alive"),
    ("Transfer-Encoding", " Chunked "),
    ("TE", "trailers"),
    ("Trailer", "X-Sum"),
    ("Upgrade", "h2c"),
    ("Proxy-Authorization", "Basic eDp5"),
]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("header", OF_THE_CONNECTION)
def test_headers_about_the_connection_are_dropped_and_logged_once(
    serve_slots: Any, caplog: pytest.LogCaptureFixture, header: tuple[str, str], *, streamed: bool
) -> None:
    def app(_environ: Environ, start: Start) -> Any:
        plain(start, header, ("X-Own", "1"))
        return (piece for piece in [b"a", b"b"]) if streamed else [b"ab"]

    gateway = serve_slots(app)
    with caplog.at_level(logging.WARNING, "buchner.worker"):
        answers = [gateway.ask() for _ in range(2)]
    for answer in answers:
        assert (answer.status, answer.body) == (200, b"ab")
        names = dict(answer.headers)
        assert set(names) == {"Content-Type", "X-Own", "X-Buchner-Dropped"}
        assert names["X-Buchner-Dropped"].lower() == header[0].lower()
    assert len([record for record in caplog.records if "dropped" in record.getMessage()]) == 1


def test_headers_that_connection_names_go_with_it_and_those_for_the_client_stay(serve_slots: Any) -> None:
    def app(_environ: Environ, start: Start) -> list[bytes]:
        plain(
            start, ("X-Hop", "1"), ("Connection", "x-hop, Set-Cookie, close"), ("Set-Cookie", "a=1"), ("X-Other", "2")
        )
        return [b"x"]

    names = dict(serve_slots(app).ask().headers)
    assert "X-Hop" not in names
    assert (names["Set-Cookie"], names["X-Other"]) == ("a=1", "2")
    assert set(names["X-Buchner-Dropped"].split(", ")) == {"Connection", "X-Hop"}


def test_an_app_may_ask_for_proxy_authentication(serve_slots: Any) -> None:
    def app(_environ: Environ, start: Start) -> list[bytes]:
        start("407 Proxy Authentication Required", [("Proxy-Authenticate", "Basic")])
        return [b""]

    answer = serve_slots(app).ask()
    assert (answer.status, answer.headers) == (407, [("Proxy-Authenticate", "Basic")])


@pytest.mark.parametrize("result", [["text"], "text", None, [b"x", 1], 7])
def test_a_body_that_is_not_bytes_is_the_apps_error(serve_slots: Any, result: Any) -> None:
    def app(_environ: Environ, start: Start) -> Any:
        plain(start)
        return result

    assert serve_slots(app).ask().flags == COMPLETE | FAILED


def test_an_app_without_start_response_is_an_error(serve_slots: Any) -> None:
    answer = serve_slots(lambda _environ, _start: []).ask()
    assert answer.status == 500
    assert b"start_response" in answer.body


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_statuses_without_a_body_send_none(serve_slots: Any, status: str) -> None:
    def app(_environ: Environ, start: Start) -> Iterator[bytes]:
        start(status, [])
        yield b"x"

    answer = serve_slots(app).ask()
    assert (answer.flags, answer.body) == (COMPLETE, b"")


def test_objects_of_a_request_that_is_over_are_refused(serve_slots: Any) -> None:
    kept: list[Any] = []

    def app(_environ: Environ, start: Start) -> list[bytes]:
        kept.append(plain(start))
        if len(kept) > 1:
            with pytest.raises(RuntimeError, match="over"):
                kept[0](b"into another answer")
        return [b"fine"]

    gateway = serve_slots(app)
    assert gateway.ask().body == b"fine"
    assert gateway.ask().body == b"fine"


def test_file_wrapper_reads_files_of_other_classes(serve_slots: Any, tmp_path: Path) -> None:
    packed = tmp_path / "a.gz"
    with gzip.open(packed, "wb") as file:
        file.write(b"unpacked" * 1000)

    class Upper(io.BufferedReader):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(size).upper()

    plain_file = tmp_path / "a.txt"
    plain_file.write_bytes(b"small")
    files: dict[str, Any] = {
        "/gzip": lambda: gzip.GzipFile(packed),
        "/buffered": lambda: io.BufferedReader(gzip.GzipFile(packed)),
        "/own": lambda: Upper(io.FileIO(plain_file)),
        "/proc": Path("/proc/self/status").open,
        "/sys": Path("/sys/kernel/mm/transparent_hugepage/enabled").open,
        "/memory": lambda: io.BytesIO(b"memory"),
        "/empty": tempfile.TemporaryFile,
    }

    def app(environ: Environ, start: Start) -> Any:
        plain(start)
        path = environ["PATH_INFO"]
        return environ["wsgi.file_wrapper"](files[path]("rb") if path in ("/proc", "/sys") else files[path]())

    gateway = serve_slots(app)
    for path, expected in [
        ("/gzip", b"unpacked" * 1000),
        ("/buffered", b"unpacked" * 1000),
        ("/own", b"SMALL"),
        ("/memory", b"memory"),
        ("/empty", b""),
    ]:
        answer = gateway.ask(path)
        assert (answer.flags & FILE, answer.body) == (0, expected), path
    for path, part in [("/proc", b"VmRSS:"), ("/sys", b"never")]:
        answer = gateway.ask(path)
        assert answer.flags & FILE == 0, path
        assert part in answer.body, path
        assert b"\0" not in answer.body, path


def test_file_wrapper_passes_the_descriptor(serve_slots: Any) -> None:
    def app(environ: Environ, start: Start) -> Any:
        file = tempfile.TemporaryFile()  # noqa: SIM115
        file.write(b"0123456789")
        file.seek(4)
        plain(start, *([("Content-Length", "3")] if environ["PATH_INFO"] == "/part" else []))
        return environ["wsgi.file_wrapper"](file)

    gateway = serve_slots(app)
    for path, length in (("/", 6), ("/part", 3)):
        answer = gateway.ask(path)
        assert answer.flags == COMPLETE | FILE
        assert struct.unpack("<QQ", answer.body) == (4, length)
        assert os.pread(answer.fds[0], length, 4) == b"0123456789"[4 : 4 + length]
        os.close(answer.fds[0])


def test_file_wrapper_iterates_what_is_no_file(serve_slots: Any) -> None:
    def app(environ: Environ, start: Start) -> Any:
        plain(start)
        return environ["wsgi.file_wrapper"](io.BytesIO(b"abcdef"), 4)

    assert serve_slots(app).ask().body == b"abcdef"
