"""HTTP/2's limits: floods, heads that are refused, deadlines, and connections that are told to go."""

from __future__ import annotations

import os
import signal
import struct
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import hpack
import pytest

from helpers.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Http2,
    ResetError,
    frame,
    get,
)
from helpers.instance import Instance, private_memory
from helpers.raw import Raw
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from helpers.gateway import Gateway

USER = 'user = "root"' if os.geteuid() == 0 else ""
"""Files of the tests are root's where root runs them."""

TOML = """
[gateway]
{user}

[[server]]
listen = ["127.0.0.1:0"]
http2 = true
{server}
[[server.access_log]]
path = "access.log"
format = "$request|$status"

[[server.route]]
path = "/"
respond = {{ status = 200, body = "ok" }}

[[server.route]]
path = "/files/"
files = "files"
"""

HEAD = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Instance]]:
    running: list[Instance] = []

    def start(server: str = "") -> Instance:
        (tmp_path / "gateway.toml").write_text(TOML.format(user=USER, server=server))
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "files" / "big.bin").write_bytes(b"x" * 5_000_000)
        running.append(Instance(tmp_path, "run", "gateway.toml"))
        return running[-1]

    yield start
    for instance in running:
        instance.end()


def headers(stream: int, end: int = END_STREAM) -> bytes:
    return frame(HEADERS, hpack.Encoder().encode(HEAD), END_HEADERS | end, stream)


def pings(count: int) -> bytes:
    return frame(PING, bytes(8)) * count


def settings(count: int) -> bytes:
    return frame(SETTINGS, struct.pack(">HI", 4, 65_535)) * count


def priorities(count: int) -> bytes:
    return b"".join(frame(PRIORITY, struct.pack(">IB", 0, 7), 0, 2 * one + 1) for one in range(count))


def updates(count: int) -> bytes:
    return frame(WINDOW_UPDATE, struct.pack(">I", 1)) * count


def empty_data(count: int) -> bytes:
    return headers(1, 0) + frame(DATA, b"", 0, 1) * count


def continuations(count: int) -> bytes:
    return frame(HEADERS, b"", 0, 1) + frame(CONTINUATION, b"", 0, 1) * count


def tiny_continuations(count: int) -> bytes:
    # each with one byte of a value that never ends
    start = b"\x00\x01x\x7f" + b"\xff" * 3 + b"\x7f"
    return frame(HEADERS, start, 0, 1) + frame(CONTINUATION, b"x", 0, 1) * count


def resets(count: int) -> bytes:
    return b"".join(
        headers(2 * one + 1) + frame(RST_STREAM, struct.pack(">I", 8), 0, 2 * one + 1) for one in range(count)
    )


def unknown(count: int) -> bytes:
    return frame(0x77) * count


def empty_headers(count: int) -> bytes:
    return headers(1, 0) + frame(HEADERS, b"", 0, 1) * count


FLOODS = [
    pings, settings, priorities, updates, empty_data, continuations, tiny_continuations, resets, unknown, empty_headers,
]  # fmt: skip


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
def test_a_flood_ends_its_connection_and_nobody_else_s(
    run: Callable[..., Instance], flood: Callable[[int], bytes]
) -> None:
    instance = run()
    get(instance.port)
    (pid,) = instance.gateways()
    before = private_memory(pid)
    reads: list[bytes] = []
    peak = [0]

    def attack() -> None:
        with Raw(instance.port) as raw:
            reader = threading.Thread(target=read, args=(raw,), daemon=True)
            reader.start()
            try:
                raw.send(PREFACE + frame(SETTINGS))
                data = flood(20_000)
                for at in range(0, len(data), 1 << 16):
                    raw.send(data[at : at + (1 << 16)])
                    peak[0] = max(peak[0], private_memory(pid))
            except OSError:
                pass
            reader.join(20)

    def read(raw: Raw) -> None:
        try:
            while data := raw.socket.recv(1 << 16):
                reads.append(data)
        except OSError:
            pass

    threads = [threading.Thread(target=attack) for _ in range(3)]
    for thread in threads:
        thread.start()
    slowest = 0.0
    with Http2(instance.port) as client:
        for _ in range(50):
            begun = time.monotonic()
            assert client.get("/").status == 200
            slowest = max(slowest, time.monotonic() - begun)
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads), "the connections were not closed"
    assert slowest < 2
    assert max(peak[0], private_memory(pid)) - before < 32 << 20
    # GOAWAY with a code, and the same in the log; what is no flood but wrong ends the connection, too
    goaways = [one for one in parsed(b"".join(reads)) if one[0] == 7]
    assert goaways or flood in (empty_headers, tiny_continuations)
    if flood in (pings, settings, priorities, updates, unknown, continuations):
        codes = {struct.unpack(">II", payload[:8])[1] for _, payload in goaways}
        assert codes == {ENHANCE_YOUR_CALM}
        instance.says("the connection is closed, client: 127.0.0.1")
    assert get(instance.port).status == 200


def parsed(data: bytes) -> list[tuple[int, bytes]]:
    """Frames; those of several connections come one after the other, as far as they are whole."""
    found = []
    while len(data) >= 9:
        length = int.from_bytes(data[:3], "big")
        found.append((data[3], data[9 : 9 + length]))
        data = data[9 + length :]
    return found


REFUSED = [
    ({"target": "/" + "x" * 9000}, 414),
    ({"fields": [("x", "y" * 9000)]}, 431),
    ({"fields": [(f"x{one}", "y") for one in range(101)]}, 431),
    ({"fields": [(f"x{one}", "y" * 1000) for one in range(40)]}, 431),
    ({"fields": [("x", "a\tb ")]}, 400),
    ({"authority": "a b"}, None),
    ({"authority": None}, 400),
    ({"authority": None, "fields": [("host", "a"), ("host", "b")]}, 400),
    ({"fields": [("host", "other")]}, 400),
    ({"method": "TRACE"}, 405),
    ({"method": "X" * 33}, 501),
    ({"target": "/%zz"}, 400),
    ({"target": "/../.."}, 400),
    ({"target": "x"}, None),
    ({"target": "*"}, 400),
    ({"fields": [("content-length", "1"), ("content-length", "2")]}, None),
    ({"fields": [("connection", "close")]}, None),
    ({"fields": [("transfer-encoding", "chunked")]}, None),
    ({"fields": [("upgrade", "x")]}, None),
    ({"fields": [("te", "gzip")]}, None),
    ({"pseudo": [(":method", "GET"), (":scheme", "http"), (":authority", "a")]}, None),
    ({"pseudo": [(":method", "GET"), (":path", "/"), (":authority", "a")]}, None),
    ({"pseudo": [*HEAD, (":status", "200")]}, None),
    ({"pseudo": [*HEAD, (":path", "/b")]}, None),
    ({"pseudo": [(":method", "CONNECT"), (":authority", "a:443")]}, 405),
]

WRONG = [("X-Upper", "1"), ("a b", "1"), ("x", "a\nb"), ("x", "a\rb"), ("x", "a\0b")]
"""Headers that no client can have meant: they end the connection (RFC 9113 section 8.2.1 leaves that open)."""


@pytest.mark.parametrize("header", WRONG)
def test_headers_that_would_split_a_head_end_the_connection(
    run_gateway: Callable[[str], Gateway], header: tuple[str, str]
) -> None:
    route = '[[server.route]]\npath = "/"\nrespond = { status = 200, body = "ok" }\n'
    gateway = run_gateway("[[server]]\nhttp2 = true\n" + route)
    with Http2(gateway.port) as client:
        client.ask(fields=[header])
        assert client.ends()
        assert client.goaway is not None
        assert client.goaway[0] == 1
    assert gateway.get().status == 200


def test_heads_are_refused_as_those_of_http_1(run: Callable[..., Instance]) -> None:
    instance = run()
    with Http2(instance.port) as client:
        for how, status in REFUSED:
            stream = client.ask(**how)  # type: ignore[arg-type]
            if status is not None:
                assert client.reply(stream).status == status, how
                continue
            with pytest.raises(ResetError) as error:
                client.reply(stream)
            assert error.value.code == 1, how
        assert client.get("/").status == 200, "the connection is as it was"
    log = (instance.directory / "access.log").read_text()
    assert "HTTP/2.0|414" in log
    assert "TRACE / HTTP/2.0|405" in log


def test_a_head_that_is_far_too_large_is_refused_and_takes_no_memory(run: Callable[..., Instance]) -> None:
    instance = run()
    with Http2(instance.port) as client:
        assert client.reply(client.ask(fields=[(f"x{one}", "y" * 8000) for one in range(7)])).status == 431
        assert client.get("/").status == 200
        client.ask(fields=[(f"x{one}", "y" * 8000) for one in range(20)])
        assert client.ends()
        assert client.goaway is not None
        assert client.goaway[0] == ENHANCE_YOUR_CALM
    assert get(instance.port).status == 200


def test_refused_heads_have_the_error_page(run: Callable[..., Instance]) -> None:
    instance = run('error_page = { 414 = "/files/page.html" }')
    (instance.directory / "files" / "page.html").write_text("own page")
    reply = get(instance.port, "/" + "x" * 9000)
    assert (reply.status, reply.body) == (414, b"own page")


def test_no_more_streams_at_a_time_than_told(run: Callable[..., Instance]) -> None:
    instance = run("http2_max_concurrent_streams = 3")
    with Http2(instance.port) as client:
        client.until(lambda: client.h2.remote_settings.get(3) == 3)
        for _ in range(3):
            client.ask("/", "POST", end=False)
        raw = hpack.Encoder().encode([*HEAD, ("x", "y")])
        client.send(frame(HEADERS, raw, END_HEADERS | END_STREAM, 101))
        data = b""
        while (RST_STREAM, struct.pack(">I", 7)) not in parsed(data):
            data += client.socket.recv(1 << 16)


def test_a_connection_is_told_to_go_after_its_requests(run: Callable[..., Instance]) -> None:
    instance = run("keepalive_requests = 3")
    with Http2(instance.port) as client:
        for _ in range(3):
            assert client.get("/").status == 200
        assert client.ends()
        assert client.goaway is not None
        assert client.goaway[0] == 0


def test_an_idle_connection_is_told_to_go(run: Callable[..., Instance]) -> None:
    instance = run('keepalive_timeout = "500ms"')
    with Http2(instance.port) as client:
        assert client.get("/").status == 200
        begun = time.monotonic()
        assert client.ends()
        assert 0.4 < time.monotonic() - begun < 2
        assert client.goaway is not None
        assert client.goaway[0] == 0
    # One that says nothing at all is closed, too.
    with Http2(instance.port) as client:
        assert client.get("/").status == 200
        client.h2.receive_data = lambda _: []  # type: ignore[method-assign,assignment]
        begun = time.monotonic()
        assert client.ends()
        assert time.monotonic() - begun < 8


def test_a_client_that_never_asks_is_closed(run: Callable[..., Instance]) -> None:
    instance = run('header_timeout = "500ms"')
    for begin in (b"", PREFACE[:10], PREFACE, PREFACE + frame(SETTINGS), PREFACE + frame(SETTINGS) + headers(1)[:12]):
        with Raw(instance.port) as raw:
            raw.send(begin)
            begun = time.monotonic()
            while raw._more():
                pass
            assert time.monotonic() - begun < 3, begin


def test_a_body_that_does_not_come_and_a_response_that_is_not_taken(run: Callable[..., Instance]) -> None:
    instance = run('body_timeout = "500ms"\nsend_timeout = "500ms"')
    with Http2(instance.port, takes=False) as client:
        stuck = client.ask("/files/big.bin")
        with pytest.raises(ResetError) as error:
            client.reply(stuck)
        assert error.value.code == 8
        client.h2.increment_flow_control_window(1 << 20)
        client.flush()
        assert client.get("/").status == 200, "the connection goes on"
    # A client that reads nothing at all holds the connection for no longer.
    with Http2(instance.port) as client:
        client.h2.increment_flow_control_window(1 << 28)
        client.flush()
        client.h2.update_settings({4: (1 << 31) - 1})
        client.flush()
        for _ in range(8):
            client.ask("/files/big.bin")
        wait_for(lambda: not connected(instance), "the end of the connection", 10)


def connected(instance: Instance) -> bool:
    """Whether a client is connected, as the gateway's side of it has it (proc(5), state 01)."""
    port = f":{instance.port:04X} "
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(port in line.split(maxsplit=2)[1] + " " and line.split()[3] == "01" for line in lines)


class Asker:
    """Asks five at a time, over and over. What it was told is not served is no failure (RFC 9113 section 6.8)."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.stop = threading.Event()
        self.served = 0
        self.failed: list[str] = []
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self.stop.is_set():
            try:
                client = Http2(self.instance.port)
            except ConnectionError:  # nobody listens any more
                return
            with client:
                while not (self.stop.is_set() or client.goaway or client.closed):
                    self._round(client)

    def _round(self, client: Http2) -> None:
        streams = [client.ask("/") for _ in range(5) if client.goaway is None]
        for stream in streams:
            try:
                client.until(partial(self._over, client, stream), 10)
            except (AssertionError, EOFError) as error:
                self.failed.append(f"{stream} {client.goaway} {client.streams[stream]} {error!r}")
                return
            self.served += client.streams[stream].ended

    @staticmethod
    def _over(client: Http2, stream: int) -> bool:
        unserved = client.goaway is not None and stream > client.goaway[1]
        return client.streams[stream].ended or unserved


@pytest.mark.parametrize("how", ["reload", "upgrade", "stop"])
def test_a_reload_an_upgrade_and_a_stop_lose_no_request(run: Callable[..., Instance], how: str) -> None:
    instance = run()
    askers = [Asker(instance) for _ in range(3)]
    time.sleep(0.5)
    if how == "reload":
        for _ in range(3):
            instance.signal(signal.SIGHUP)
            time.sleep(0.5)
    elif how == "upgrade":
        before = instance.gateways()
        instance.signal(signal.SIGUSR2)
        instance.replaces(before)
    else:
        instance.signal(signal.SIGTERM)
        instance.process.wait(30)
    for asker in askers:
        asker.stop.set()
        asker.thread.join(30)
    assert [asker.failed for asker in askers] == [[], [], []]
    assert sum(asker.served for asker in askers) > 50


def test_an_idle_connection_is_told_to_go_by_a_stop(run: Callable[..., Instance]) -> None:
    instance = run()
    with Http2(instance.port) as client:
        assert client.get("/").status == 200
        instance.signal(signal.SIGTERM)
        assert client.ends()
        assert client.goaway is not None
        assert client.goaway[0] == 0
    assert instance.process.wait(30) == 0
