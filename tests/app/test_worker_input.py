"""The body of a request as an app reads it: with the request, from a file, as a stream."""

from __future__ import annotations

import io
import os
import resource
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from slot_driver import (
    COMPLETE,
    FAILED,
    REQUEST_ABORT,
    REQUEST_BODY,
    REQUEST_END,
    SPOOLED,
    STREAMED,
    Environ,
    Peer,
    Start,
    frame,
    hello,
    request,
)

if TYPE_CHECKING:
    from collections.abc import Callable


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
def test_the_body_reads_like_a_file(serve_slots: Any, how: str, index: int) -> None:
    reader, expected = READERS[index]
    got: list[Any] = []

    def app(environ: Environ, start: Start) -> list[bytes]:
        got.append(reader(environ["wsgi.input"]))
        return hello(environ, start)

    peer = serve_slots(app).peers[0]
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


def test_a_streamed_body_that_nobody_reads_does_not_disturb_the_next_request(serve_slots: Any) -> None:
    peer = serve_slots(hello).peers[0]
    for how in ("streamed", "spooled", "streamed", "inline"):
        send_body(peer, how, b"z" * 100)
        assert peer.answer().body == b"hello"


def test_a_client_that_goes_away_in_its_body_is_an_oserror(serve_slots: Any) -> None:
    seen: list[BaseException] = []

    def app(environ: Environ, start: Start) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            seen.append(error)
        return hello(environ, start)

    peer = serve_slots(app).peers[0]
    peer.send(request(method="POST", flags=STREAMED) + frame(REQUEST_BODY, b"x") + frame(REQUEST_ABORT))
    assert peer.answer().status == 200
    assert isinstance(seen[0], OSError)


def test_a_body_whose_descriptor_got_lost_is_refused_and_the_next_is_its_own(serve_slots: Any) -> None:
    seen: list[bytes] = []

    def app(environ: Environ, start: Start) -> list[bytes]:
        seen.append(environ["wsgi.input"].read())
        return hello(environ, start)

    peer = serve_slots(app).peers[0]
    with spooled(b"first") as first, spooled(b"second") as second:
        free = os.dup(first.fileno())
        os.close(free)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            peer.send(request(method="POST", flags=SPOOLED, length=5), first.fileno())
            refused = peer.answer()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (refused.status, refused.flags) == (503, COMPLETE | FAILED)
        peer.send(request(method="POST", flags=SPOOLED, length=6), second.fileno())
        assert peer.answer().body == b"hello"
    assert seen == [b"second"]


def test_a_body_s_file_that_is_too_short_is_an_error_not_an_end(serve_slots: Any) -> None:
    def app(environ: Environ, start: Start) -> list[bytes]:
        with pytest.raises(OSError, match="reading the request body"):
            environ["wsgi.input"].read()
        return hello(environ, start)

    peer = serve_slots(app).peers[0]
    with spooled(b"short") as file:
        peer.send(request(method="POST", flags=SPOOLED, length=50), file.fileno())
        assert peer.answer().body == b"hello"


def spooled(content: bytes) -> Any:
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the caller closes it
    file.write(content)
    return file
