"""HTTP/2 by prior knowledge: requests to an app, a proxy and files, bodies, hints, trailers, tunnels."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from helpers.http2 import Http2, ResetError, Stream, get
from helpers.instance import Instance
from helpers.proxied import proxy, seen
from helpers.raw import Raw, ask
from helpers.upstream import Upstream, answer, exactly
from helpers.wait import wait_for

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from helpers.gateway import Gateway
    from helpers.upstream import Script

pytest.importorskip("flask")

APP = """
import hashlib, threading, time
from flask import Flask, Response, request
from flask_sock import Sock
app = Flask(__name__)
sock = Sock(app)

@app.route("/show/<path:name>", methods=["GET", "POST", "PUT", "HEAD"])
def show(name):
    return {
        "method": request.method, "path": request.path, "query": request.query_string.decode(),
        "protocol": request.environ["SERVER_PROTOCOL"], "host": request.host, "scheme": request.scheme,
        "cookies": request.cookies, "headers": {key.lower(): value for key, value in request.headers},
        "length": len(request.get_data()),
    }

@app.post("/digest")
def digest():
    sha = hashlib.sha256()
    while piece := request.stream.read(50_000):
        sha.update(piece)
    return sha.hexdigest()

@app.get("/big/<int:size>")
def big(size):
    return Response((b"x" * min(50_000, size - at) for at in range(0, size, 50_000)), mimetype="text/plain")

@app.post("/early")
def early():
    return "early", 403

@app.get("/slow/<float:seconds>")
def slow(seconds):
    time.sleep(seconds)
    return "slow"

@app.get("/broken")
def broken():
    def body():
        yield b"begun"
        time.sleep(0.1)
        raise RuntimeError("it breaks off")
    return Response(body(), mimetype="text/plain")

@app.get("/events")
def events():
    def body():
        for number in range(3):
            yield f"data: {number}\\n\\n"
            time.sleep(0.05)
    return Response(body(), mimetype="text/event-stream")

@sock.route("/echo")
def echo(ws):
    while (text := ws.receive()) != "bye":
        ws.send(text[::-1])
"""

USER = 'user = "root"' if os.geteuid() == 0 else ""
"""Files of the tests are root's where root runs them."""

TOML = """
[gateway]
{user}

[app]
target = "shop:app"
workers = 1

[[server]]
listen = ["127.0.0.1:0"]
http2 = true
{server}
[[server.access_log]]
path = "access.log"
format = "$request_method $uri $status $server_protocol $http2 $request_length $body_bytes_sent $bytes_sent"

[[server.route]]
path = "/"
app = true

[[server.route]]
path = "/streamed/"
rewrite = [{{ rewrite = {{ regex = "^/streamed(.*)", to = "$1", flag = "break" }} }}]
request_buffering = false
app = true

[[server.route]]
path = "/files/"
files = "files"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    directory = tmp_path_factory.mktemp("h2")
    (directory / "shop.py").write_text(APP)
    (directory / "gateway.toml").write_text(TOML.format(user=USER, server=""))
    (directory / "files").mkdir()
    (directory / "files" / "big.bin").write_bytes(os.urandom(1_300_000))
    (directory / "files" / "empty.txt").write_bytes(b"")
    instance = Instance(directory, "run", "gateway.toml")
    yield instance
    instance.end()


def test_an_app_gets_requests_of_http_2(site: Instance) -> None:
    with Http2(site.port) as client:
        crumbs = [("cookie", "a=1"), ("x-own", "ä"), ("cookie", "b=2")]
        reply = client.get("/show/a%20b?c=d&e", "GET", *crumbs)
        assert reply.status == 200
        found = json.loads(reply.body)
        assert (found["method"], found["path"], found["query"]) == ("GET", "/show/a b", "c=d&e")
        assert (found["protocol"], found["host"], found["scheme"]) == ("HTTP/2.0", "test", "http")
        assert found["cookies"] == {"a": "1", "b": "2"}
        assert found["headers"]["cookie"] == "a=1; b=2"
        assert reply.get("content-length") == str(len(reply.body))
        assert reply.get("server") == "Buchner"
        assert reply.get("date")
        assert {"connection", "transfer-encoding", "keep-alive"}.isdisjoint(dict(reply.fields))
        posted = client.get("/show/a", "POST", ("content-type", "text/plain"), body=b"12345")
        assert json.loads(posted.body)["length"] == 5
        # of a length that is not told
        assert json.loads(client.reply(client.ask("/show/a", "PUT", body=b"x" * 100_000)).body)["length"] == 100_000
        head = client.get("/show/a", "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert int(head.get("content-length") or 0) > 10


def test_bodies_of_any_size_go_both_ways(site: Instance) -> None:
    body = os.urandom(3_000_000)
    with Http2(site.port) as client:
        for path in ("/digest", "/streamed/digest"):
            assert client.get(path, "POST", body=body).body.decode() == hashlib.sha256(body).hexdigest()
        for size in (0, 1, 65_535, 65_536, 1_000_000):
            assert len(client.get(f"/big/{size}").body) == size
        reply = client.get("/events")
        assert reply.body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"


def test_files_and_ranges_of_them(site: Instance) -> None:
    data = (site.directory / "files" / "big.bin").read_bytes()
    with Http2(site.port) as client:
        assert client.get("/files/big.bin").body == data
        part = client.get("/files/big.bin", "GET", ("range", "bytes=100000-399999"))
        assert (part.status, part.body) == (206, data[100_000:400_000])
        assert client.get("/files/empty.txt").body == b""
        assert client.get("/files/none.txt").status == 404
        stamp = client.get("/files/big.bin", "HEAD").get("last-modified")
        assert client.get("/files/big.bin", "GET", ("if-modified-since", str(stamp))).status == 304


def test_many_streams_at_a_time_and_none_holds_up_the_others(site: Instance) -> None:
    data = (site.directory / "files" / "big.bin").read_bytes()
    with Http2(site.port, takes=False) as client:
        stuck = [client.ask("/files/big.bin") for _ in range(3)]
        # They share what the connection has room for, and then each fills its own window.
        client.until(lambda: sum(len(client.streams[one].body) for one in stuck) == 65_535)
        client.h2.increment_flow_control_window(1 << 24)
        client.flush()
        client.until(lambda: all(len(client.streams[one].body) == 65_535 for one in stuck))
        assert len(client.get("/files/empty.txt").body) == 0
        assert client.get("/show/a").status == 200
        for one in stuck:
            client.h2.increment_flow_control_window(1 << 24, one)
        client.flush()
        for one in stuck:
            assert client.reply(one).body == data
    with Http2(site.port) as client:
        streams = [client.ask(f"/big/{size}") for size in range(100, 5000, 50)]
        assert [len(client.reply(one).body) for one in streams] == [*range(100, 5000, 50)]


def test_an_upload_to_an_app_that_reads_slowly_holds_up_only_itself(site: Instance) -> None:
    with Http2(site.port) as client:
        slow = [client.ask("/streamed/slow/1.5", "POST", end=False) for _ in range(2)]
        for one in slow:
            client.upload(one, b"x" * 60_000, end=False)
        body = os.urandom(1_000_000)
        assert client.get("/files/empty.txt").status == 200
        reply = client.get("/digest", "POST", body=body)
        assert reply.body.decode() == hashlib.sha256(body).hexdigest()


def test_an_early_response_to_a_body_that_nobody_reads_ends_the_stream_alone(site: Instance) -> None:
    with Http2(site.port) as client:
        stream = client.ask("/streamed/early", "POST", end=False)
        client.upload(stream, b"x" * 30_000, end=False)
        assert client.reply(stream).status == 403
        client.until(lambda: client.streams[stream].reset is not None)
        assert client.streams[stream].reset == 0, "NO_ERROR: the response holds (RFC 9113 section 8.1)"
        assert client.get("/show/a").status == 200


def test_a_response_that_breaks_off_is_reset(site: Instance) -> None:
    with Http2(site.port) as client:
        stream = client.ask("/broken")
        with pytest.raises(ResetError) as error:
            client.reply(stream)
        assert error.value.code == 2
        found = client.streams[stream]
        assert (found.status, bytes(found.body)) == (200, b"begun")
        assert client.get("/show/a").status == 200


def test_a_client_that_gives_up_a_stream_ends_its_work(site: Instance) -> None:
    with Http2(site.port) as client:
        streams = [client.ask("/slow/0.4") for _ in range(20)]
        time.sleep(0.1)
        for one in streams:
            client.h2.reset_stream(one, 8)
        client.flush()
        before = time.monotonic()
        assert client.get("/show/a").status == 200
        assert time.monotonic() - before < 3, "those that had waited for a slot are gone"
    wait_for(lambda: (site.directory / "access.log").read_text().count(" 499 HTTP/2.0 ") >= 20, "20 lines of 499")


def frames(text: bytes, opcode: int = 1) -> bytes:
    """A masked WebSocket frame (RFC 6455 section 5.2)."""
    mask = b"\x01\x02\x03\x04"
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(text))
    return bytes([0x80 | opcode, 0x80 | len(text)]) + mask + masked


def _has(stream: Stream, count: int) -> bool:
    return len(stream.body) >= count


def websocket(client: Http2, path: str) -> int:
    pseudo = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
    ]
    fields = [("sec-websocket-version", "13"), ("origin", "http://test")]
    client.until(lambda: client.h2.remote_settings.get(8) == 1)
    return client.ask(pseudo=pseudo, fields=fields, end=False)


def test_websocket_to_an_app_by_extended_connect(site: Instance) -> None:
    with Http2(site.port) as client:
        stream = websocket(client, "/echo")
        found = client.streams[stream]
        client.until(lambda: found.status)
        assert found.status == 200
        assert {"sec-websocket-accept", "connection", "upgrade", "content-length"}.isdisjoint(dict(found.fields))
        for text in (b"abc", b"hello"):
            before = len(found.body)
            client.h2.send_data(stream, frames(text))
            client.flush()
            wanted = before + 2 + len(text)
            client.until(partial(_has, found, wanted))
            assert found.body[before:] == bytes([0x81, len(text)]) + text[::-1]
        # Others go on beside it.
        assert client.get("/show/a").status == 200
        client.h2.send_data(stream, frames(b"bye"))
        client.flush()
        client.until(lambda: found.body.endswith(b"\x88\x02\x03\xe8"))
        client.h2.end_stream(stream)
        client.flush()
        client.until(lambda: found.ended or found.reset is not None)
        # What is no WebSocket is a response like others.
        refused = websocket(client, "/show/a")
        assert client.reply(refused).status in (200, 400, 404, 405)


def test_curl_is_served(site: Instance, require_peer: Callable[[str], str]) -> None:
    curl = require_peer("curl")
    run = subprocess.run(
        [curl, "-sS", "--http2-prior-knowledge", "-d", "12345", f"http://127.0.0.1:{site.port}/show/a",
         "-w", " %{http_version} %{http_code}"],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert run.stdout.endswith(" 2 200")
    assert '"length":5' in run.stdout


def test_the_logs_name_the_version_and_count_bytes(site: Instance) -> None:
    with Http2(site.port) as client:
        client.get("/files/big.bin?counted")
    log = site.directory / "access.log"
    line = wait_for(
        lambda: next((one for one in log.read_text().splitlines() if "/files/big.bin 200" in one), ""), "the line"
    )
    method, _, status, version, http2, length, body, sent = line.split()
    assert (method, status, version, http2, body) == ("GET", "200", "HTTP/2.0", "h2c", "1300000")
    assert 10 < int(length) < 200
    assert 1_300_000 + 9 * 80 < int(sent) < 1_302_000


def test_a_preface_in_pieces_and_http_1_beside_it(site: Instance) -> None:
    assert ask(site.port, "GET /show/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").status == 200
    for request in ("P", "PR", "PRI * HTT", "POST /show/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"):
        with Raw(site.port) as raw:
            raw.send(request)
            time.sleep(0.05)
            raw.send("" if request.startswith("POST") else "X /show/a HTTP/1.1\r\nHost: a\r\n\r\n")
            assert raw.reply().status in (200, 400, 405, 505)
    with Http2(site.port, drips=60) as client:
        assert client.get("/show/a").status == 200


RESPOND = '[[server.route]]\npath = "/"\nrespond = { status = 200, body = "ok" }\n'


def test_without_http2_a_preface_is_refused(run_gateway: Callable[[str], Gateway]) -> None:
    gateway = run_gateway("[[server]]\n" + RESPOND)
    with Raw(gateway.port) as raw:
        raw.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert raw.reply().status == 505


def test_an_address_takes_http_2_whatever_its_servers_say(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text('[[server]]\nlisten = ["127.0.0.1:0 http2"]\n' + RESPOND)
    instance = Instance(tmp_path, "run", "gateway.toml")
    try:
        assert get(instance.port).body == b"ok"
        assert instance.get("/").body == b"ok"
    finally:
        instance.end()


def proxied(upstream: Upstream, route: str = "") -> str:
    return proxy(upstream.port, route, "http2 = true")


def test_a_proxy_passes_on_what_came_in_http_2(
    run_gateway: Callable[[str], Gateway], run_upstream: Callable[[Script], Upstream]
) -> None:
    upstream = run_upstream(answer(b"hello", "X-Up: 1", "Connection: x-hop", "X-Hop: 1", "Keep-Alive: timeout=5"))
    gateway = run_gateway(proxied(upstream))
    with Http2(gateway.port) as client:
        fields = [("cookie", "a=1"), ("te", "trailers"), ("cookie", "b=2"), ("accept", "*/*")]
        reply = client.reply(client.ask("/a?b", "POST", fields, body=b"12345", authority="example.com:81"))
        assert (reply.status, reply.body, reply.get("x-up")) == (200, b"hello", "1")
        assert {"connection", "keep-alive", "x-hop"}.isdisjoint(dict(reply.fields))
        assert upstream.heads[-1].startswith(b"POST /a?b HTTP/1.1\r\n")
        found = seen(upstream)
        assert found["cookie"] == "a=1; b=2"
        assert found["content-length"] == "5"
        assert found["x-forwarded-host"] == "example.com:81"
        assert "te" not in found
        assert ":authority" not in found


def test_trailers_and_hints_come_from_an_upstream(
    run_gateway: Callable[[str], Gateway], run_upstream: Callable[[Script], Upstream]
) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-after\r\n\r\n"
    upstream = run_upstream(exactly(hints + head + b"5\r\nhello\r\n0\r\nX-After: 1\r\n\r\n"))
    gateway = run_gateway(proxied(upstream, 'early_hints = ["1"]\nproxy_pass_trailers = true'))
    with Http2(gateway.port) as client:
        stream = client.ask("/")
        reply = client.reply(stream)
        assert (reply.body, reply.trailers) == (b"hello", [("x-after", "1")])
        assert client.streams[stream].interim == [(103, {"link": "</a.css>; rel=preload"})]


def test_100_is_sent_once_somebody_reads(site: Instance) -> None:
    with Http2(site.port) as client:
        stream = client.ask("/show/a", "POST", [("expect", "100-continue"), ("content-length", "5")], end=False)
        client.until(lambda: client.streams[stream].interim)
        assert client.streams[stream].interim == [(100, {})]
        client.upload(stream, b"12345")
        assert json.loads(client.reply(stream).body)["length"] == 5
        large = [("expect", "100-continue"), ("content-length", str(1 << 30))]
        refused = client.ask("/show/a", "POST", large, end=False)
        assert client.reply(refused).status == 413
        assert client.streams[refused].interim == []
        odd = client.ask("/show/a", "POST", [("expect", "x")], end=False)
        assert client.reply(odd).status == 417


def test_websocket_to_an_upstream_by_extended_connect(
    run_gateway: Callable[[str], Gateway], run_upstream: Callable[[Script], Upstream]
) -> None:
    def script(connection: socket.socket, head: bytes) -> bool:
        assert b"\r\nupgrade: websocket\r\n" in head.lower()
        assert b"\r\nsec-websocket-key: " in head.lower()
        fields = b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n"
        connection.sendall(b"HTTP/1.1 101 x\r\n" + fields + b"\r\n")
        while data := connection.recv(100_000):
            connection.sendall(data.upper())
        return False

    upstream = run_upstream(script)
    gateway = run_gateway(proxied(upstream))
    with Http2(gateway.port) as client:
        streams = [websocket(client, "/chat") for _ in range(3)]
        sent = b"abc" * 50_000
        for one in streams:
            client.upload(one, sent, end=False)
        for one in streams:
            client.until(partial(_has, client.streams[one], len(sent)))
            assert client.streams[one].body == sent.upper()
        client.h2.end_stream(streams[0])
        client.h2.reset_stream(streams[1], 8)
        client.flush()
        client.until(lambda: client.streams[streams[0]].ended)
        client.upload(streams[2], b"more", end=False)
        client.until(lambda: client.streams[streams[2]].body.endswith(b"MORE"))
    wait_for(lambda: not upstream.open, "the tunnels' ends")


def test_requests_in_threads_over_several_connections(site: Instance) -> None:
    counter = itertools.count()
    failed: list[int] = []

    def run() -> None:
        with Http2(site.port) as client:
            for _ in range(10):
                streams = [client.ask(f"/show/{next(counter)}", "POST", body=b"x" * 1000) for _ in range(5)]
                failed.extend(one for one in streams if client.reply(one).status != 200)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
