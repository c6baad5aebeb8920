"""Directives that say how long to wait, and for what: Buchner and nginx on the same file give up at the same time."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from helpers.names import A, Names
from helpers.nginx import get
from helpers.raw import Raw
from helpers.upstream import answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from helpers.nginx import Pair
    from helpers.upstream import Upstream

    RunPair = Callable[[str], Pair]
    RunUpstream = Callable[..., Upstream]

SOON = 0.7, 4.0
"""Seconds within which a wait of one second ends."""


@pytest.fixture
def deaf() -> Iterator[int]:
    """Return a port whose queue is full: nobody accepts, and another connection is not made."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_connection_to_an_upstream_is_waited_for(deaf: int, run_pair: RunPair) -> None:
    pair = run_pair(
        f"""server {{ listen 127.0.0.1:PORT; proxy_connect_timeout 1s;
        location / {{ proxy_pass http://127.0.0.1:{deaf}; }} }}"""
    )
    for server in (pair.nginx, pair.buchner):
        status, seconds = server.timed(get("/"))
        assert status == 504
        assert SOON[0] < seconds < SOON[1]


def test_an_answer_is_waited_for(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    def silent(connection: socket.socket, _head: bytes) -> bool:
        connection.recv(1)
        return False

    pair = run_pair(
        f"""server {{ listen 127.0.0.1:PORT; proxy_read_timeout 1s;
        location / {{ proxy_pass http://127.0.0.1:{run_upstream(silent).port}; }} }}"""
    )
    for server in (pair.nginx, pair.buchner):
        status, seconds = server.timed(get("/"))
        assert status == 504
        assert SOON[0] < seconds < SOON[1]


def test_an_upstream_that_takes_nothing_is_given_up(run_pair: RunPair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # the kernel accepts, nobody reads
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        pair = run_pair(
            f"""server {{ listen 127.0.0.1:PORT; client_max_body_size 64m;
            proxy_send_timeout 1s; proxy_read_timeout 60s;
            location / {{ proxy_pass http://127.0.0.1:{listener.getsockname()[1]}; }} }}"""
        )
        size = 20_000_000
        request = get("/", [f"Content-Length: {size}"]).replace("GET", "POST", 1).encode() + b"x" * size
        for server in (pair.nginx, pair.buchner):
            status, seconds = server.timed(request)
            assert status == 504
            assert SOON[0] < seconds < 8


def test_a_client_that_takes_nothing_is_given_up(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    back = run_upstream(answer(b"x" * 30_000_000)).port
    pair = run_pair(
        f"""server {{ listen 127.0.0.1:PORT; send_timeout 1s; proxy_max_temp_file_size 0;
        location / {{ proxy_pass http://127.0.0.1:{back}; }} }}"""
    )
    for server in (pair.nginx, pair.buchner):
        with Raw(server.port) as raw:
            raw.send(get("/"))
            time.sleep(2.5)  # the time is what is tested
            taken = 0
            try:
                while piece := raw.socket.recv(1 << 20):
                    taken += len(piece)
            except ConnectionResetError:
                pass
            assert 0 < taken < 30_000_000


def test_a_slow_client_is_not_the_upstreams_fault(run_pair: RunPair, run_upstream: RunUpstream) -> None:
    """Neither while it sends its request nor while it takes its answer does the time for the upstream run."""
    size = 30_000_000
    back = run_upstream(answer(b"x" * size)).port
    pair = run_pair(
        f"""server {{ listen 127.0.0.1:PORT; proxy_read_timeout 1s; proxy_http_version 1.1;
        proxy_request_buffering off; proxy_buffering off;
        location / {{ proxy_pass http://127.0.0.1:{back}; }} }}"""
    )
    for server in (pair.nginx, pair.buchner):
        with Raw(server.port) as sends, Raw(server.port) as takes:
            takes.send(get("/"))
            sends.send(get("/", ["Content-Length: 4"]).replace("GET", "POST", 1) + "ab")
            time.sleep(2.2)  # the time is what is tested
            sends.send("cd")
            for raw in (sends, takes):
                reply = raw.reply()
                assert (reply.status, len(reply.body)) == (200, size), server.file


@pytest.fixture
def names() -> Iterator[Names]:
    server = Names()
    yield server
    server.socket.close()


def test_names_are_asked_of_the_resolver_for_so_long(
    names: Names, run_pair: RunPair, run_upstream: RunUpstream
) -> None:
    pair = run_pair(
        f"""server {{ listen 127.0.0.1:PORT; resolver 127.0.0.1:{names.port}; resolver_timeout 1s;
        location / {{ proxy_pass http://$arg_host:{run_upstream(answer(b"found")).port}; }} }}"""
    )
    assert pair.get("/?host=ok.test").body == b"found"
    assert names.asked.count(("ok.test", A)) == 2
    for server in (pair.nginx, pair.buchner):
        status, seconds = server.timed(get("/?host=silent.test"))
        assert status == 502
        assert SOON[0] < seconds < 2.5  # 3 s unless told
