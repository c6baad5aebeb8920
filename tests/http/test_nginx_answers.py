"""What a request's own course and an upstream say about the answer: its speed, its charset, its page; beside nginx."""

from __future__ import annotations

import re
import socket
import time
from typing import TYPE_CHECKING

import pytest

from helpers.nginx import Server, get
from helpers.raw import Raw
from helpers.upstream import answer, exactly

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.nginx import Pair
    from helpers.upstream import Upstream


def test_the_pages_of_all_statuses(run_pair: Callable[[str], Pair]) -> None:
    # Not those that lead elsewhere: nginx sends an empty Location with them. It closes for 408 and 444, and 498 and
    # 499 are its own.
    statuses = [300, 304, 305, 306, *(status for status in range(400, 599) if status not in (408, 444, 498, 499))]
    locations = "".join(f"location = /{status} {{ return {status}; }}\n" for status in statuses)
    pair = run_pair(f"server {{ listen 127.0.0.1:PORT; {locations} }}")
    for status in statuses:
        pair.get(f"/{status}")


SPEED = """
server {
    listen 127.0.0.1:PORT;
    add_header X-Rate $limit_rate;
    location /set { set $limit_rate 3k; proxy_pass http://127.0.0.1:BACK; }
    location /if {
        if ($arg_slow) { set $limit_rate 3k; }
        proxy_pass http://127.0.0.1:BACK;
    }
    location /over { limit_rate 1m; set $limit_rate $arg_rate; proxy_pass http://127.0.0.1:BACK; }
    location /accel { proxy_pass http://127.0.0.1:SLOW; }
    location /deaf { proxy_ignore_headers X-Accel-Limit-Rate; proxy_pass http://127.0.0.1:SLOW; }
    location /own { add_header X-Own 1; limit_rate 3k; proxy_pass http://127.0.0.1:BACK; }
    location /free { proxy_pass http://127.0.0.1:BACK; }
}
"""


def timed(server: Server, target: str) -> tuple[bool, str | None, int]:
    """Return whether an answer took its time, the rate it names, and the bytes of its body."""
    began = time.monotonic()
    with Raw(server.port) as raw:
        raw.send(get(target))
        reply = raw.reply()
    return time.monotonic() - began > 1, reply.get("x-rate"), len(reply.body)


@pytest.mark.parametrize(
    ("target", "slow"),
    [
        ("/set", True),
        ("/if", False),
        ("/if?slow=1", True),
        ("/over?rate=3k", True),
        ("/over?rate=0", False),
        ("/accel", True),
        ("/deaf", False),
        ("/own", True),
        ("/free", False),
    ],
)
def test_the_speed_of_an_answer(
    target: str, slow: bool, run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream]
) -> None:
    body = b"x" * 8000
    back = run_upstream(answer(body))
    held = run_upstream(answer(body, "X-Accel-Limit-Rate: 3000"))
    pair = run_pair(SPEED.replace("BACK", str(back.port)).replace("SLOW", str(held.port)))
    theirs, ours = timed(pair.nginx, target), timed(pair.buchner, target)
    assert ours == theirs
    assert ours[0] is slow
    assert ours[2] == len(body)


CHARSET = """
charset_map koi8-r utf-8 { C0 D18E; C1 D0B0; }
server {
    listen 127.0.0.1:PORT;
    location / { proxy_pass http://127.0.0.1:BACK; }
    location /on { charset utf-8; proxy_pass http://127.0.0.1:BACK; }
    location /koi { charset koi8-r; source_charset utf-8; proxy_pass http://127.0.0.1:BACK; }
    location /deaf { charset utf-8; proxy_ignore_headers X-Accel-Charset; proxy_pass http://127.0.0.1:BACK; }
}
"""


@pytest.mark.parametrize("wanted", ["utf-8", "koi8-r", "KOI8-R", "latin1", "off", ""])
@pytest.mark.parametrize("kind", ["text/html", "text/html; charset=koi8-r", "image/png", ""])
def test_the_charset_that_an_upstream_wants(
    wanted: str, kind: str, run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream]
) -> None:
    fields = [f"X-Accel-Charset: {wanted}"] + ([f"Content-Type: {kind}"] if kind else [])
    back = run_upstream(answer(b"a \xc0\xc1", *fields))
    pair = run_pair(CHARSET.replace("BACK", str(back.port)))
    for target in ("/", "/on", "/koi", "/deaf"):
        pair.get(target)


HINTED = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Accel-Expires: 1\r\n"
    b"Connection: x-hop\r\nX-Hop: 1\r\n\r\n"
    b"HTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Final: yes\r\n\r\nok"
)
HINTS = """
server {
    listen 127.0.0.1:PORT;
    location / { proxy_pass http://127.0.0.1:BACK; }
    location /on { early_hints $arg_no $arg_hints; proxy_pass http://127.0.0.1:BACK; }
}
"""


@pytest.mark.parametrize(
    ("target", "version", "hints"),
    [
        ("/on?hints=1", "1.1", [b"</a.css>", b"</b.css>"]),
        ("/on?hints=0", "1.1", []),
        ("/on", "1.1", []),
        ("/?hints=1", "1.1", []),
        ("/on?hints=1", "1.0", []),
    ],
)
def test_early_hints_go_to_who_may_have_them(
    target: str,
    version: str,
    hints: list[bytes],
    run_upstream: Callable[..., Upstream],
    run_conf: Callable[[str], Server],
) -> None:
    """nginx has this since 1.29, so its answers are those of its documentation."""
    conf = HINTS.replace("BACK", str(run_upstream(exactly(HINTED)).port))
    server = run_conf(conf)
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), 20) as client:
        client.sendall(f"GET {target} HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        while piece := client.recv(4096):
            received += piece
    *interim, final = received.split(b"HTTP/1.1 ")[1:]
    assert [re.findall(rb"Link: (\S+);", head) for head in interim] == [[hint] for hint in hints]
    assert all(head.startswith(b"103 Early Hints\r\n") and head.endswith(b"\r\n\r\n") for head in interim)
    assert b"X-Accel" not in received
    assert b"X-Hop" not in received
    assert final.startswith(b"200 OK\r\n")
    assert final.endswith(b"\r\n\r\nok")


def test_a_header_is_set_as_often_as_the_file_says(
    run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream]
) -> None:
    def echo(connection: socket.socket, head: bytes) -> bool:
        lines = sorted(line for line in head.split(b"\r\n") if line.lower().startswith(b"x-"))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(b"|".join(lines)) + b"|".join(lines))
        return True

    back = run_upstream(echo)
    pair = run_pair(f"""
server {{
    listen 127.0.0.1:PORT;
    proxy_set_header X-Tag one;
    proxy_set_header X-Tag two;
    location / {{ proxy_pass http://127.0.0.1:{back.port}; }}
    location /own {{
        proxy_set_header X-Tag $arg_a;
        proxy_set_header x-other "";
        proxy_set_header X-Tag b;
        proxy_set_header X-Last c;
        proxy_pass http://127.0.0.1:{back.port};
    }}
}}
""")
    assert pair.get("/").body == b"X-Tag: one|X-Tag: two"
    assert pair.get("/own?a=1", "X-Tag: client", "X-Other: client").body == b"X-Last: c|X-Tag: 1|X-Tag: b"
    assert pair.get("/own").body == b"X-Last: c|X-Tag: b"
