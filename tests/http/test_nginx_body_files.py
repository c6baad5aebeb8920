"""Request bodies in files with names: the hand-off of uploads by name, as nginx has it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.upstream import Upstream, answer
from helpers.wait import wait_for

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from helpers.gateway import Gateway
    from helpers.nginx import Pair, Server

CONF = """
log_format file '$request_body_file|$request_body';
server {
    listen 127.0.0.1:PORT;
    client_body_temp_path DIR/bodies-PORT;
    client_max_body_size 8m;
    access_log DIR/log-PORT file;
    proxy_set_header X-File $request_body_file;
    location /on { client_body_in_file_only on; proxy_pass_request_body off; proxy_set_header Content-Length "";
        proxy_set_header X-File $request_body_file; proxy_pass http://127.0.0.1:BACK; }
    location /clean { client_body_in_file_only clean; proxy_pass http://127.0.0.1:BACK; }
    location /off { client_body_in_file_only off; proxy_pass http://127.0.0.1:BACK; }
    location /streamed { client_body_in_file_only on; proxy_request_buffering off; proxy_http_version 1.1;
        proxy_pass http://127.0.0.1:BACK; }
    location /unread { client_body_in_file_only on; return 200 own; }
    location /again { client_body_in_file_only clean; error_page 502 = @next; proxy_pass http://127.0.0.1:1; }
    location @next { proxy_pass http://127.0.0.1:BACK; }
}
"""
BIG = b"0123456789abcdef" * 100_000
CASES = [(b"hello", False), (BIG, False), (b"", False), (BIG, True)]


class Reader:
    """An upstream that reads the file it is told of while the request is still there."""

    def __init__(self) -> None:
        self.files: list[tuple[str, bytes | None, int]] = []

    def __call__(self, connection: socket.socket, head: bytes) -> bool:
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        name = fields.get(b"X-File", b"").decode()
        file = Path(name)
        self.files.append(
            (name, file.read_bytes(), file.stat().st_mode & 0o777) if name and file.exists() else (name, None, 0)
        )
        return answer()(connection, head)


def post(path: str, body: bytes, *, chunked: bool = False) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n".encode()
    if chunked:
        return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def kept(directory: Path) -> list[bytes]:
    return sorted(file.read_bytes() for file in directory.iterdir()) if directory.is_dir() else []


@pytest.mark.parametrize("place", ["on", "clean", "off", "streamed", "unread", "again"])
def test_bodies_are_in_files_where_nginx_puts_them(
    tmp_path: Path, run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream], place: str
) -> None:
    reader = Reader()
    back = run_upstream(reader)
    pair = run_pair(CONF.replace("BACK", str(back.port)))

    def run(server: Server) -> list[object]:
        reader.files.clear()
        back.bodies.clear()
        log = tmp_path / f"log-{server.port}"
        for body, chunked in CASES:
            reply = server.ask(post(f"/{place}", body, chunked=chunked), "POST")
            assert reply is not None
            assert reply.status == 200
        server.ask(f"GET /{place} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        wait_for(lambda: log.exists() and log.read_text().count("\n") == len(CASES) + 1, "all lines in the log")
        named = [line.split("|")[0] for line in log.read_text().splitlines()]
        folder = tmp_path / f"bodies-{server.port}"
        if place in ("on", "clean", "again"):
            assert [name for name, _, _ in reader.files[: len(CASES)]] == named[: len(CASES)]
            assert all(Path(name).parent == folder for name in named[: len(CASES)])
        left = kept(folder)
        files = [(content, mode) for _, content, mode in reader.files]
        return [files, list(back.bodies), left]

    theirs, ours = run(pair.nginx), run(pair.buchner)
    assert ours == theirs
    if place == "on":
        assert ours[2] == sorted(body for body, _ in CASES)


def test_the_same_in_gateway_toml(
    tmp_path: Path, run_gateway: Callable[..., Gateway], run_upstream: Callable[..., Upstream]
) -> None:
    reader = Reader()
    back = run_upstream(reader)
    user = '[gateway]\nuser = "root"\n' if os.geteuid() == 0 else ""  # who may write where the test may
    gateway = run_gateway(
        f"""{user}[[server]]
        request_body_dir = "{tmp_path}/bodies"
        set_headers = {{ X-File = "$request_body_file" }}
        [[server.route]]
        path = "/clean"
        request_body_file = "clean"
        proxy = "http://127.0.0.1:{back.port}"
        [[server.route]]
        path = "/on"
        request_body_file = "on"
        proxy_pass_request_body = false
        proxy = "http://127.0.0.1:{back.port}"
        """
    )
    for path in ("/clean", "/on"):
        assert gateway.ask(post(path, BIG), "POST").status == 200
    assert [content for _, content, _ in reader.files] == [BIG, BIG]
    assert [body == BIG for body in back.bodies] == [True, False]
    wait_for(lambda: kept(tmp_path / "bodies") == [BIG], "one file that stays")
