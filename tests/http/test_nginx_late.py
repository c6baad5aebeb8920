"""Variables that are known late: what nginx says of them in heads, behind bodies and in logs, Buchner says too."""

from __future__ import annotations

import re
import socket
import sys
import threading
from typing import TYPE_CHECKING

from helpers.nginx import Server, get
from helpers.raw import Raw
from helpers.upstream import answer, exactly
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.nginx import Pair
    from helpers.upstream import Upstream

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nX-Sum: 8\r\n\r\n"


def whole(port: int, request: str) -> bytes:
    """Return all that comes until the connection closes."""
    with Raw(port) as raw:
        raw.send(request)
        while raw._more():
            pass
        return raw.buffer


def line(file: Path) -> str:
    wait_for(lambda: file.exists() and file.read_text().endswith("\n"), "a line in the log")
    return file.read_text()


SENT = """
log_format late '$sent_trailer_x_after|$sent_trailer_x_two|$sent_trailer_x_none|$sent_http_x_after';
server {
    listen 127.0.0.1:PORT;
    location / {
        access_log DIR/late-PORT.log late;
        add_trailer X-After $uri; add_trailer X-Two two; add_trailer X-None "";
        proxy_pass http://127.0.0.1:BACK;
    }
}
"""


def test_trailers_sent_are_known_in_the_log(
    tmp_path: Path, run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream]
) -> None:
    pair = run_pair(SENT.replace("BACK", str(run_upstream(answer()).port)))
    for server in (pair.nginx, pair.buchner):
        assert whole(server.port, get("/a")).endswith(b"X-After: /a\r\nX-Two: two\r\n\r\n")
        assert line(tmp_path / f"late-{server.port}.log") == "/a|two|-|-\n"


def test_trailers_of_an_upstream_are_known_behind_its_body(
    tmp_path: Path, run_upstream: Callable[..., Upstream]
) -> None:
    """Releases of nginx that read them say so of `$upstream_trailer_`; the one that tests compare with does not."""
    log = tmp_path / "late.log"
    server = Server(
        tmp_path / "buchner",
        f"""log_format late '$upstream_trailer_x_sum|$upstream_trailer_x_none|$sent_trailer_x_sum|$sent_trailer_x_own';
        server {{ listen 127.0.0.1:PORT; access_log {log} late; add_header X-Head "[$upstream_trailer_x_sum]";
        proxy_http_version 1.1; proxy_pass_trailers on; add_trailer X-Own "own $upstream_trailer_x_sum";
        location / {{ proxy_pass http://127.0.0.1:{run_upstream(exactly(CHUNKED)).port}; }} }}""",
        [sys.executable, "-m", "buchner", "run"],
    )
    try:
        said = whole(server.port, get("/", ["TE: trailers"]))
        assert b"\r\nX-Head: []\r\n" in said
        assert said.endswith(b"0\r\nX-Sum: 7\r\nX-Sum: 8\r\nX-Own: own 7, 8\r\n\r\n")
        assert line(log) == "7, 8|-|7, 8|own 7, 8\n"
    finally:
        server.stop()


TCP = """
server {
    listen 127.0.0.1:PORT; listen unix:DIR/PORT.sock;
    return 200 "$tcpinfo_rtt $tcpinfo_rttvar $tcpinfo_snd_cwnd $tcpinfo_rcv_space.";
}
"""


def test_what_the_kernel_knows_of_a_connection(tmp_path: Path, run_pair: Callable[[str], Pair]) -> None:
    pair = run_pair(TCP)
    found = []
    for server in (pair.nginx, pair.buchner):
        reply = server.ask(get("/"))
        assert reply is not None
        match = re.fullmatch(r"(\d+) (\d+) (\d+) (\d+)\.", reply.body.decode())
        assert match, reply.body
        assert all(int(number) > 0 for number in match.groups())
        found.append(match.groups()[2:])
        with socket.socket(socket.AF_UNIX) as unix:
            unix.connect(str(tmp_path / f"{server.port}.sock"))
            unix.sendall(get("/").encode())
            assert b"".join(iter(lambda: unix.recv(4096), b"")).endswith(b"\r\n\r\n   .")
    assert found[0] == found[1], "window and buffer of a new connection are the kernel's"


TIMES = """
map "$upstream_response_time $upstream_response_length $upstream_bytes_received $upstream_bytes_sent" $times {
    volatile; "~^(- 0 \\d+ 0)$" $1; "~^([\\d.]+) (\\d+ \\d+ \\d+)$" "seconds $2"; default other; }
log_format times $times;
server {
    listen 127.0.0.1:PORT;
    access_log DIR/times-PORT.log times;
    proxy_set_header Host test;
    add_header X-Times $times always;
    location / { proxy_pass http://127.0.0.1:BACK; }
    location /unbuffered { proxy_buffering off; proxy_pass http://127.0.0.1:BACK; }
    location /gone { proxy_pass http://127.0.0.1:GONE; error_page 502 /own; }
    location /own { return 200 own; }
}
"""


def test_times_of_an_upstream_are_not_known_in_the_head(
    tmp_path: Path, run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream]
) -> None:
    go_on = threading.Event()

    def script(connection: socket.socket, head: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        if b"/slow" in head:
            go_on.wait(10)
        connection.sendall(b"lo")
        return False

    back = run_upstream(script)
    pair = run_pair(TIMES.replace("BACK", str(back.port)).replace("GONE", str(run_upstream(exactly(b"")).port)))
    for target in ("/slow", "/unbuffered/slow", "/gone"):
        heads, lines = [], []
        for server in (pair.nginx, pair.buchner):
            log = tmp_path / f"times-{server.port}.log"
            before = log.read_text().count("\n") if log.exists() else 0
            go_on.clear()
            with Raw(server.port) as raw:
                raw.send(get(target))
                heads.append(re.findall(r"X-Times: (.*)\r", raw._until(b"\r\n\r\n").decode()))
                go_on.set()
                while raw._more():
                    pass
            wait_for(lambda: log.read_text().count("\n") > before, "a line in the log")  # noqa: B023
            lines.append(log.read_text().splitlines()[before])
        assert heads[0] == heads[1]
        assert lines[0] == lines[1]
        assert heads[1] == (["- 0 41 0"] if target != "/gone" else [lines[1]])
        assert lines[1].startswith("seconds "), lines
