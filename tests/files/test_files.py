"""Static files and X-Accel-Redirect / X-Sendfile, over raw sockets against a running gateway process.

The gateway is driven over its control protocol (docs/control-protocol.md) with resolved documents, so these tests need
neither the supervisor nor an app.
"""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE = 10.0


@dataclass
class Reply:
    """A response as it came."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str | None:
        """The value of a field, by its name in lower case."""
        return next((value for key, value in self.fields if key == name), None)

    def names(self) -> set[str]:
        """The names of all fields, in lower case."""
        return {key for key, _ in self.fields}


class Gateway:
    """A gateway process with one server on a free port."""

    def __init__(self, routes: list[dict[str, Any]], settings: dict[str, Any], upstreams: dict[str, Any]) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        address = f"127.0.0.1:{self.port}"
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control = ours
        command = [sys.executable, "-m", "buchner.gateway", "--control-fd", str(theirs.fileno())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        document = {
            "listen": [{"address": address, "default_server": 0}],
            "server": [
                {"listen": [0], "names": [], "settings": 0, "route": [{"settings": 0, **route} for route in routes]}
            ],
            "upstream": upstreams,
            "settings": [settings],
        }
        memory = os.memfd_create("plan")
        os.write(memory, json.dumps(document).encode())
        self._send({"op": "listen", "address": address}, listener.fileno())
        self._send({"op": "plan", "id": 1}, memory)
        os.close(memory)
        listener.close()
        self.control.settimeout(DEADLINE)
        while (answer := json.loads(self.control.recv(65536)))["op"] != "ready":
            assert answer["op"] != "refused", answer["error"]

    def _send(self, message: dict[str, Any], descriptor: int) -> None:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
        self.control.sendmsg([json.dumps(message).encode()], [rights])

    def ask(self, target: str, *fields: str, method: str = "GET", body: bytes = b"") -> Reply:
        """One request on a connection of its own. `target` goes out as it is, even what no client library sends."""
        head = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", *fields]
        if body:
            head.append(f"Content-Length: {len(body)}")
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as conn:
            conn.sendall("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body)
            received = b""
            while chunk := conn.recv(1 << 20):
                received += chunk
        return parse(received)

    def close(self) -> None:
        """Drains and ends the process."""
        self.control.close()
        assert self.process.wait(DEADLINE) == 0


def parse(received: bytes) -> Reply:
    """Takes a response with Content-Length, or none, apart."""
    head, _, body = received.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    pairs = [line.split(": ", 1) for line in rest]
    return Reply(int(first.split()[1]), [(name.lower(), value) for name, value in pairs], body)


Start = Callable[..., Gateway]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts gateways that end with the test."""
    running: list[Gateway] = []

    def begin(
        *routes: dict[str, Any], settings: dict[str, Any] | None = None, upstreams: dict[str, Any] | None = None
    ) -> Gateway:
        gateway = Gateway(list(routes), settings or {}, upstreams or {})
        running.append(gateway)
        return gateway

    yield begin
    for gateway in running:
        gateway.close()


def files(path: str, root: Path, **options: Any) -> dict[str, Any]:
    """A route to files."""
    return {"path": path, "content": {"files": {"root": str(root), **options}}}


def respond(path: str, body: str, **options: Any) -> dict[str, Any]:
    """A route with a fixed answer."""
    return {"path": path, "content": {"respond": {"status": 200, "body": body}}, **options}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory to serve, with a secret beside it."""
    (tmp_path / "secret").write_text("SECRET")
    directory = tmp_path / "public"
    directory.mkdir()
    return directory


@pytest.mark.kind("backend files")
def test_a_file_with_its_fields(start: Start, root: Path) -> None:
    (root / "site.css").write_bytes(b"body{}")
    os.utime(root / "site.css", (784111777, 784111777))
    gateway = start(files("/static/", root, cache_control="public, max-age=60"))
    reply = gateway.ask("/static/site.css")
    assert (reply.status, reply.body) == (200, b"body{}")
    assert reply.get("content-type") == "text/css; charset=utf-8"
    assert reply.get("content-length") == "6"
    assert reply.get("last-modified") == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert reply.get("accept-ranges") == "bytes"
    assert reply.get("cache-control") == "public, max-age=60"
    assert "vary" not in reply.names()
    head = gateway.ask("/static/site.css", method="HEAD")
    assert (head.status, head.body, head.get("content-length")) == (200, b"", "6")
    assert head.get("etag") == reply.get("etag")


def test_conditional_requests(start: Start, root: Path) -> None:
    (root / "a.txt").write_bytes(b"text")
    gateway = start(files("/", root))
    whole = gateway.ask("/a.txt")
    etag, date = whole.get("etag"), whole.get("last-modified")
    for field in [
        f"If-None-Match: {etag}",
        f"If-None-Match: W/{etag}",
        "If-None-Match: *",
        f"If-Modified-Since: {date}",
    ]:
        reply = gateway.ask("/a.txt", field)
        assert (reply.status, reply.body, reply.get("etag")) == (304, b"", etag), field
        assert not {"content-type", "content-length"} & reply.names()
    assert gateway.ask("/a.txt", 'If-None-Match: "x"', f"If-Modified-Since: {date}").status == 200
    assert gateway.ask("/a.txt", 'If-Match: "x"').status == 412
    assert gateway.ask("/a.txt", f"If-Match: {etag}").status == 200
    assert gateway.ask("/a.txt", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT").status == 412


def test_entity_tags_see_changes_within_a_second_unless_told_not_to(start: Start, root: Path) -> None:
    for name, nanoseconds in [("a", 1), ("b", 2)]:
        (root / name).write_bytes(b"same size")
        os.utime(root / name, ns=(0, 1_600_000_000 * 10**9 + nanoseconds))
    gateway = start(files("/", root), files("/coarse/", root, etag_precision="seconds"))
    assert gateway.ask("/a").get("etag") != gateway.ask("/b").get("etag")
    assert gateway.ask("/coarse/a").get("etag") == gateway.ask("/coarse/b").get("etag") == '"5f5e1000-9"'


@pytest.mark.parametrize("size", [1000, 300_000])
def test_ranges_of_a_file_are_sent_or_refused(start: Start, root: Path, size: int) -> None:
    content = os.urandom(size)
    (root / "data.bin").write_bytes(content)
    gateway = start(files("/", root))
    cases = {"bytes=0-0": (0, 1), "bytes=10-": (10, size), "bytes=-7": (size - 7, size), "bytes=5-9999999": (5, size)}
    for value, (begin, end) in cases.items():
        reply = gateway.ask("/data.bin", f"Range: {value}")
        assert (reply.status, reply.body) == (206, content[begin:end]), value
        assert reply.get("content-range") == f"bytes {begin}-{end - 1}/{size}"
        assert reply.get("content-length") == str(end - begin)
    assert gateway.ask("/data.bin", "Range: bytes=0-1", method="HEAD").status == 200
    etag = gateway.ask("/data.bin").get("etag")
    assert gateway.ask("/data.bin", "Range: bytes=0-1", f"If-Range: {etag}").status == 206
    for fields in [["Range: bytes=0-1", 'If-Range: "x"'], ["Range: lines=1-2"]]:
        assert gateway.ask("/data.bin", *fields).body == content, fields
    # RFC 9110 section 14.2 lets an invalid set be ignored or rejected; it is rejected, as nginx does.
    for value in [f"bytes={size}-", "bytes=2-1", "bytes=x"]:
        reply = gateway.ask("/data.bin", f"Range: {value}")
        assert (reply.status, reply.get("content-range")) == (416, f"bytes */{size}")


@pytest.mark.parametrize("size", [1000, 300_000])
def test_several_ranges_come_as_multipart(start: Start, root: Path, size: int) -> None:
    content = os.urandom(size)
    (root / "data.bin").write_bytes(content)
    gateway = start(files("/", root, max_ranges=4))
    reply = gateway.ask("/data.bin", "Range: bytes=0-1,500-599,550-700,-3")
    kind = reply.get("content-type") or ""
    boundary = kind.removeprefix("multipart/byteranges; boundary=").encode()
    expected = b""
    for begin, end in [(0, 2), (500, 701), (size - 3, size)]:
        expected += b"\r\n--%b\r\nContent-Type: application/octet-stream\r\n" % boundary
        expected += b"Content-Range: bytes %d-%d/%d\r\n\r\n%b" % (begin, end - 1, size, content[begin:end])
    expected += b"\r\n--%b--\r\n" % boundary
    assert (reply.status, reply.body) == (206, expected)
    assert reply.get("content-length") == str(len(expected))
    assert gateway.ask("/data.bin", "Range: bytes=0-0,2-2,4-4,6-6,8-8").body == content


def test_nothing_leads_out_of_the_root(start: Start, root: Path) -> None:
    (root / "dir").mkdir()
    (root / "inside").write_text("inside")
    (root / "link").symlink_to("../secret")
    (root / "absolute").symlink_to(root.parent / "secret")
    (root / "up").symlink_to("..")
    (root / "near").symlink_to("inside")
    gateway = start(files("/static/", root), files("/bare", root), files("/open/", root, follow_symlinks=True))
    escapes = [
        "../secret",
        "%2e%2e/secret",
        "..%2fsecret",
        "%2e%2e%2fsecret",
        "..%5csecret",
        "dir/../../secret",
        ".//../secret",
    ]
    escapes += [
        "link",
        "absolute",
        "up/secret",
        "dir/%2e%2e/up/secret",
        "%252e%252e/secret",
        "secret%00",
        "..;/secret",
        "link/",
    ]
    for target in [
        *(f"/static/{escape}" for escape in escapes),
        "/bare../secret",
        "/bare../public/inside",
        "/bare%2e./secret",
    ]:
        reply = gateway.ask(target)
        assert reply.status in {400, 403, 404}, target
        assert b"SECRET" not in reply.body, target
    assert gateway.ask("/static/near").body == b"inside"
    assert gateway.ask("/static/link").status == 403
    assert gateway.ask("/open/link").body == b"SECRET"
    assert gateway.ask("/open/../secret").body != b"SECRET"


def test_what_is_no_regular_file_is_refused_at_once(start: Start, root: Path) -> None:
    os.mkfifo(root / "fifo")
    gateway = start(files("/", root))
    before = time.monotonic()
    assert gateway.ask("/fifo").status == 403
    assert time.monotonic() - before < 2


def test_directories_and_their_index(start: Start, root: Path) -> None:
    for name in ["docs", "bare", "odd?name", "typed"]:
        (root / name).mkdir()
    (root / "docs/index.html").write_text("<p>docs")
    (root / "odd?name/index.html").write_text("odd")
    (root / "typed/index.html").write_text("file")
    gateway = start(files("/", root), respond("/typed/index.html", "another route", match="exact"))
    reply = gateway.ask("/docs?a=1&b=%20")
    assert (reply.status, reply.get("location")) == (301, "/docs/?a=1&b=%20")
    assert gateway.ask("/odd%3fname").get("location") == "/odd%3Fname/"
    reply = gateway.ask("/docs/?a=1")
    assert (reply.status, reply.body, reply.get("content-type")) == (200, b"<p>docs", "text/html; charset=utf-8")
    assert gateway.ask("/odd%3fname/").body == b"odd"
    # The index is an internal redirect: another route may answer it.
    assert gateway.ask("/typed/").body == b"another route"
    assert gateway.ask("/bare/").status == 403
    assert gateway.ask("/none/").status == 404
    assert gateway.ask("/none").status == 404
    location = gateway.ask("//docs").get("location")
    assert location == "/docs/"


def test_fallback_takes_what_is_no_file(start: Start, root: Path) -> None:
    (root / "real.txt").write_text("real")
    (root / "empty").mkdir()
    gateway = start(files("/", root, fallback="@app"), respond("@app", "app got $request_method $request_uri"))
    assert gateway.ask("/real.txt").body == b"real"
    for target in ["/", "/login?next=1", "/empty", "/empty/", "/a/b/c"]:
        assert gateway.ask(target).body == f"app got GET {target}".encode()
    assert gateway.ask("/login", method="POST", body=b"user=me").body == b"app got POST /login"
    assert gateway.ask("/real.txt", method="POST", body=b"x").status == 405


def test_a_page_for_every_path_of_a_single_page_app(start: Start, root: Path) -> None:
    gateway = start(files("/", root, fallback="/index.html"))
    assert gateway.ask("/some/where").status == 404
    (root / "index.html").write_text("<app>")
    for target in ["/", "/some/where", "/index.html"]:
        assert gateway.ask(target).body == b"<app>"
    assert gateway.ask("/some/where", method="POST", body=b"x").status == 405


def test_a_root_that_is_not_there_is_told(start: Start, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    gateway = start(files("/", root / "typo"))
    assert gateway.ask("/a").status == 404
    gateway.ask("/b")
    until, log = time.monotonic() + DEADLINE, ""
    while "files.root" not in log:
        assert time.monotonic() < until
        log += capfd.readouterr().err
    assert f'cannot open the directory "{root}/typo"' in log


def test_other_methods(start: Start, root: Path) -> None:
    (root / "a").write_text("a")
    gateway = start(files("/", root))
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"]:
        reply = gateway.ask("/a", method=method)
        assert (reply.status, reply.get("allow")) == (405, "GET, HEAD"), method


def test_precompressed_siblings(start: Start, root: Path) -> None:
    for name in ["app.js", "app.js.br", "app.js.gz"]:
        (root / name).write_text(f"this is {name} of some length")
    gateway = start(files("/", root))
    tags = set()
    for accept, name, coding in [
        ("br, gzip", "app.js.br", "br"),
        ("gzip", "app.js.gz", "gzip"),
        ("gzip;q=0.9, br;q=0.1", "app.js.gz", "gzip"),
        ("br;q=0", "app.js", None),
    ]:
        reply = gateway.ask("/app.js", f"Accept-Encoding: {accept}")
        assert reply.body.decode() == f"this is {name} of some length"
        assert (reply.get("content-encoding"), reply.get("vary")) == (coding, "Accept-Encoding")
        assert reply.get("content-type") == "text/javascript; charset=utf-8"
        tags.add(reply.get("etag"))
    assert len(tags) == 3
    part = gateway.ask("/app.js", "Accept-Encoding: br", "Range: bytes=8-16")
    assert (part.status, part.body, part.get("content-encoding")) == (206, b"app.js.br", "br")


def test_a_sibling_that_is_older_than_the_file_is_not_sent(start: Start, root: Path) -> None:
    (root / "app.js").write_bytes(b"new")
    (root / "app.js.gz").write_bytes(b"packed")
    os.utime(root / "app.js", (2_000_000_000, 2_000_000_000.9))
    for age, sent in [(-1, b"new"), (0, b"packed"), (1, b"packed")]:
        os.utime(root / "app.js.gz", (2_000_000_000, 2_000_000_000 + age))
        for stale, expected in [(False, sent), (True, b"packed")]:
            gateway = start(files("/", root, precompressed_stale=stale))
            assert gateway.ask("/app.js", "Accept-Encoding: gzip").body == expected, (age, stale)


def test_what_is_left_to_the_fallback(start: Start, root: Path) -> None:
    for name in ("a.js", "a.js.gz", "b.SVGZ"):
        (root / name).write_bytes(b"file")
    gateway = start(files("/", root, leave=[".gz", ".svgz"], fallback="@app"), respond("@app", "app"))
    for name, method, expected in [
        ("a.js", "GET", b"file"),
        ("a.js.gz", "GET", b"app"),
        ("b.SVGZ", "GET", b"app"),
        ("gz", "GET", b"app"),
        ("a.js", "OPTIONS", b"app"),
        ("a.js", "POST", b"app"),
    ]:
        assert gateway.ask(f"/{name}", method=method).body == expected, (name, method)


def test_a_large_file_arrives_whole(start: Start, root: Path) -> None:
    content = os.urandom(5 << 20)
    (root / "large.bin").write_bytes(content)
    gateway = start(files("/", root))
    assert gateway.ask("/large.bin").body == content
    assert gateway.ask("/large.bin", "Range: bytes=1000000-3999999").body == content[1_000_000:4_000_000]


def test_a_changed_file_is_seen(start: Start, root: Path) -> None:
    (root / "a").write_text("old")
    gateway = start(files("/", root))
    assert gateway.ask("/a").body == b"old"
    (root / "new").write_text("newer")
    (root / "new").rename(root / "a")
    until = time.monotonic() + DEADLINE
    while (body := gateway.ask("/a").body) != b"newer":
        assert body == b"old"
        assert time.monotonic() < until
        time.sleep(0.05)
    (root / "a").unlink()
    while gateway.ask("/a").status != 404:
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_forbidden(start: Start, root: Path) -> None:
    (root / "a").write_text("a")
    (root / "a").chmod(0)
    assert start(files("/", root)).ask("/a").status == 403


class Upstream:
    """An HTTP server that answers every request with the same fields, status and a body that must not get through."""

    def __init__(self) -> None:
        self.fields: list[str] = []
        self.status = "200 OK"
        self.methods: list[str] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def config(self) -> dict[str, Any]:
        """This server as an upstream named `app`."""
        return {"app": {"server": [{"address": f"127.0.0.1:{self.socket.getsockname()[1]}"}]}}

    def _serve(self) -> None:
        while True:
            try:
                conn, _ = self.socket.accept()
            except OSError:
                return
            with conn:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += conn.recv(65536)
                self.methods.append(head.split(b" ", 1)[0].decode())
                body = b"" if head.startswith(b"HEAD") else b"the app's own body"
                lines = [f"HTTP/1.1 {self.status}", "Content-Length: 18", "Connection: close", *self.fields]
                conn.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """An upstream server."""
    server = Upstream()
    yield server
    server.socket.close()


PROXY = {"path": "/", "content": {"proxy": {"upstream": "app"}}}


def test_x_accel_redirect(start: Start, root: Path, upstream: Upstream) -> None:
    (root / "a b?.txt").write_bytes(b"0123456789")
    gateway = start(PROXY, {**files("/protected/", root), "internal": True}, upstreams=upstream.config)
    assert gateway.ask("/protected/a%20b%3f.txt").status == 404
    upstream.fields = [
        "X-Accel-Redirect: /protected/a%20b%3F.txt?x=1",
        "Content-Type: application/pdf",
        "Content-Disposition: attachment; filename=b.pdf",
        "Set-Cookie: a=1",
        "Set-Cookie: b=2",
        "Cache-Control: private",
        "Expires: 0",
        'ETag: "app"',
        "X-Other: gone",
    ]
    reply = gateway.ask("/download", method="POST", body=b"form")
    assert (reply.status, reply.body) == (200, b"0123456789")
    assert reply.get("content-type") == "application/pdf"
    assert reply.get("content-disposition") == "attachment; filename=b.pdf"
    assert [value for name, value in reply.fields if name == "set-cookie"] == ["a=1", "b=2"]
    assert (reply.get("cache-control"), reply.get("expires")) == ("private", "0")
    assert not {"x-accel-redirect", "x-other"} & reply.names()
    assert reply.get("etag") != '"app"'
    part = gateway.ask("/download", "Range: bytes=2-4")
    assert (part.status, part.body, part.get("content-range")) == (206, b"234", "bytes 2-4/10")
    head = gateway.ask("/download", method="HEAD")
    assert (head.status, head.body, head.get("content-length")) == (200, b"", "10")
    etag = reply.get("etag")
    assert gateway.ask("/download", f"If-None-Match: {etag}").status == 304


def test_x_accel_redirect_to_nowhere(start: Start, root: Path, upstream: Upstream) -> None:
    gateway = start(PROXY, {**files("/protected/", root), "internal": True}, upstreams=upstream.config)
    for uri, status in [
        ("/protected/none", 404),
        ("/protected/../../etc/passwd", 404),
        ("/protected/../protected/a", 404),
        ("/protected/.%2e/protected/a", 404),
        ("/protected/%2e%2e%2fprotected/a", 404),
        ("", 404),
        ("http://x/", 502),
        ("/again", 500),
    ]:
        upstream.fields = [f"X-Accel-Redirect: {uri}", "Content-Type: application/pdf", "Set-Cookie: a=1"]
        reply = gateway.ask("/")
        assert (reply.status, reply.get("content-type")) == (status, "text/html; charset=utf-8"), uri
        assert b"the app's own body" not in reply.body


def test_x_sendfile(start: Start, root: Path, upstream: Upstream) -> None:
    (root / "größe.txt").write_bytes(b"0123456789")
    (root / "link").symlink_to("../secret")
    gateway = start(PROXY, settings={"sendfile_roots": [str(root)]}, upstreams=upstream.config)
    # As a WSGI server sends text: latin-1.
    own = [
        "Content-Type: application/pdf",
        "X-Own: stays",
        'ETag: "app"',
        "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT",
    ]
    upstream.fields = [f"X-Sendfile: {root}/größe.txt", *own]
    reply = gateway.ask("/download")
    assert (reply.status, reply.body, reply.get("content-length")) == (200, b"0123456789", "10")
    assert (reply.get("content-type"), reply.get("x-own"), reply.get("etag")) == ("application/pdf", "stays", '"app"')
    assert "x-sendfile" not in reply.names()
    upstream.status = "206 Partial Content"
    upstream.fields += ["Content-Range: bytes 7-9/10"]
    part = gateway.ask("/download", "Range: bytes=7-", 'If-Range: "app"')
    assert (part.status, part.body) == (206, b"789")
    assert [value for name, value in part.fields if name == "content-range"] == ["bytes 7-9/10"]
    upstream.status = "404 Not Found"
    assert gateway.ask("/download", "Range: bytes=0-0").status == 404
    upstream.status = "200 OK"
    for path, status in [
        (root.parent / "secret", 500),
        (root / "link", 403),
        (f"{root}/../secret", 404),
        (root / "none", 404),
        ("secret", 500),
        (root, 500),
    ]:
        upstream.fields = [f"X-Sendfile: {path}"]
        reply = gateway.ask("/download")
        assert reply.status == status, path
        assert b"SECRET" not in reply.body, path


def test_sendfile_headers_can_be_turned_off(start: Start, root: Path, upstream: Upstream) -> None:
    settings = {"sendfile_headers": False, "sendfile_roots": [str(root)]}
    gateway = start(PROXY, settings=settings, upstreams=upstream.config)
    upstream.fields = [f"X-Sendfile: {root}/a", "X-Accel-Redirect: /b"]
    reply = gateway.ask("/")
    assert (reply.status, reply.body) == (200, b"the app's own body")
