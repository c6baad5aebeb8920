"""Small pieces of a body that come one right after the other leave together, and none of them waits for a slow one."""

from __future__ import annotations

import os
import random
import threading
import time
from typing import TYPE_CHECKING, Any

from slot_driver import ABORT, BODY, END, STOP, Environ, Start, frame, plain, request, until

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = 70_000
"""Bytes after which pieces may be joined: more than a frame."""


def rest_of(peer: Any) -> tuple[list[bytes], int]:
    """The bodies of the frames until the response ends, and the kind of its end."""
    bodies = []
    while (got := peer.frame()).kind == BODY:
        bodies.append(got.body)
    return bodies, got.kind


def test_many_small_pieces_share_frames(serve_slots: Any) -> None:
    data = os.urandom(4_000_000)

    def app(_environ: Environ, start: Start) -> Iterator[bytes]:
        plain(start)
        for at in range(0, len(data), 1000):
            yield data[at : at + 1000]

    peer = serve_slots(app).peers[0]
    peer.send(request())
    head = peer.frame()
    bodies, end = rest_of(peer)
    assert head.body + b"".join(bodies) == data
    assert end == END
    assert max(map(len, bodies)) <= 65536
    # A thread that is taken off its core between two pieces sends the second of them alone.
    assert len(bodies) < 2000


def test_pieces_of_all_sizes_stay_in_their_order_for_a_reader_that_pauses(serve_slots: Any) -> None:
    draw = random.Random(1)
    pieces = [draw.randbytes(draw.choice([1, 100, 4096, 16384, 16385, 60_000, 200_000])) for _ in range(400)]

    def app(_environ: Environ, start: Start) -> Iterator[bytes]:
        plain(start)
        for number, piece in enumerate(pieces):
            if number % 97 == 0:
                time.sleep(0.005)
            yield piece

    peer = serve_slots(app).peers[0]
    peer.send(request())
    body, end = peer.frame().body, None
    while end is None:
        if len(body) % 7 == 0:
            time.sleep(0.003)
        got = peer.frame()
        end, body = (None, body + got.body) if got.kind == BODY else (got.kind, body)
    assert end == END
    assert body == b"".join(pieces)


def test_a_piece_that_waits_leaves_while_the_app_takes_its_time(serve_slots: Any) -> None:
    go = threading.Event()

    def app(_environ: Environ, start: Start) -> Iterator[bytes]:
        plain(start)
        yield b"x" * MANY
        yield b"x" * MANY
        for _ in range(20):
            yield b"y"
        assert go.wait(20)
        yield b"z"

    peer = serve_slots(app).peers[0]
    for _ in range(5):
        go.clear()
        peer.send(request())
        body = peer.frame().body
        # The peer's patience is shorter than the app's.
        while body.count(b"y") < 20:
            body += peer.frame().body
        go.set()
        assert rest_of(peer) == ([b"z"], END)


def test_what_the_write_callable_is_given_is_never_joined(serve_slots: Any) -> None:
    def app(_environ: Environ, start: Start) -> list[bytes]:
        write = plain(start)
        write(b"x" * MANY)
        write(b"x" * MANY)
        for _ in range(50):
            write(b"y")
        return []

    peer = serve_slots(app).peers[0]
    peer.send(request())
    peer.frame()
    bodies, end = rest_of(peer)
    assert bodies[-50:] == [b"y"] * 50
    assert end == END


def test_an_app_that_fails_has_sent_what_it_gave(serve_slots: Any) -> None:
    def app(_environ: Environ, start: Start) -> Iterator[bytes]:
        plain(start)
        yield b"x" * MANY
        yield b"x" * MANY
        yield from [b"y"] * 20
        raise ValueError("in the middle")

    peer = serve_slots(app).peers[0]
    peer.send(request())
    peer.frame()
    bodies, end = rest_of(peer)
    assert b"".join(bodies).endswith(b"x" + b"y" * 20)
    assert end == ABORT


def test_a_response_that_nobody_needs_ends_among_its_pieces(serve_slots: Any) -> None:
    closed = threading.Event()

    def app(_environ: Environ, start: Start) -> Iterator[bytes]:
        plain(start)
        try:
            while True:
                yield b"y" * 500
        finally:
            closed.set()

    peer = serve_slots(app).peers[0]
    for number in range(1, 6):
        closed.clear()
        peer.send(request())
        for _ in range(300):
            peer.frame()
        time.sleep(0.02)  # the socket is full, and a frame partly out
        peer.send(frame(STOP, number.to_bytes(4, "little")))
        bodies, end = rest_of(peer)
        assert end == ABORT
        assert set(b"".join(bodies)) <= {ord("y")}
        until(closed.is_set)
