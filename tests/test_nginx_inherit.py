"""What inner blocks have of directives that make lists: as nginx, for every choice of blocks that repeat them."""

from __future__ import annotations

from itertools import compress, product
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from helpers.nginx import Pair
    from helpers.upstream import Upstream

LEVELS = "hslni"
"""http, server, location, the location within it, and an `if` there: the directives of each bear its letter."""
IN_IF = """
    add_header X-Added {0}; add_header X-Added-{0} yes always;
    add_trailer X-Trailer {0};
    error_page 404 =200 /error/{0};
"""
LISTS = (
    IN_IF
    + """
    proxy_set_header X-Set {0}; proxy_set_header X-Set-{0} yes;
    proxy_hide_header X-Hide-{0};
    proxy_redirect http://{0}.example/ /new-{0}/;
    proxy_cookie_path /{0} /new-{0};
    proxy_cookie_domain {0}.example new-{0}.example;
    proxy_cookie_flags {0} secure;
    sub_filter mark-{0} done-{0};
    index {0}.txt;
    deny 10.0.0.{1};
"""
)
SERVER = """
server {
    listen 127.0.0.1:PORT; server_name NAME; root DIR/root;
    set_real_ip_from 127.0.0.1; real_ip_header X-Real;
    S
    location /error { return 200 $uri; }
    location / {
        L
        proxy_pass http://127.0.0.1:UP;
        location /n { N proxy_pass http://127.0.0.1:UP; if ($arg_i) { I } }
    }
    location /files/ { L location /files/n/ { N } }
}
"""


def lines(level: str) -> str:
    return (IN_IF if level == "i" else LISTS).format(level, LEVELS.index(level) + 1)


def shows_all(connection: socket.socket, head: bytes) -> bool:
    """Answer with what each of the directives could change, and with the fields that came."""
    came = sorted(line for line in head.decode().lower().split("\r\n") if line.startswith(("x-set", "host")))
    body = " ".join([*came, *(f"mark-{level}" for level in LEVELS)]).encode()
    fields = [f"Content-Length: {len(body)}", "Content-Type: text/html"]
    for level in LEVELS:
        fields.append(f"X-Hide-{level}: yes")
        fields.append(f"Set-Cookie: {level}=1; Path=/{level}; Domain={level}.example")
    to = head.split(b"to=")[1][:1].decode() if b"to=" in head else ""
    status = "302 Found" if to else "404 Not Found" if b"lost" in head else "200 OK"
    fields += [f"Location: http://{to}.example/a"] if to else []
    connection.sendall("\r\n".join([f"HTTP/1.1 {status}", *fields]).encode() + b"\r\n\r\n" + body)
    return False


@pytest.mark.parametrize("in_http", [False, True], ids=["", "http"])
def test_lists_are_inherited_as_in_nginx(
    in_http: bool, run_pair: Callable[[str], Pair], run_upstream: Callable[..., Upstream], tmp_path: Path
) -> None:
    for directory in ("files", "files/n"):
        (tmp_path / "root" / directory).mkdir(parents=True)
        for level in LEVELS:
            (tmp_path / "root" / directory / f"{level}.txt").write_text(f"{directory} {level}")
    conf = "proxy_intercept_errors on;" + (lines("h") if in_http else "")
    names: list[str] = []
    for choice in product((False, True), repeat=4):
        repeated = "".join(compress("slni", choice))
        names.append(f"in{len(names)}.test")
        text = SERVER.replace("NAME", names[-1])
        for level in "slni":
            text = text.replace(f" {level.upper()} ", f" {lines(level) if level in repeated else ''} ")
            text = text.replace(f" {level.upper()}\n", f" {lines(level) if level in repeated else ''}\n")
        conf += text
    pair = run_pair(conf.replace("UP;", f"{run_upstream(shows_all).port};"))
    targets = [
        f"{path}{query}" for path in ("/a?", "/n?", "/n?i=1&") for query in ("", "lost", *(f"to={x}" for x in LEVELS))
    ]
    seen = set()
    for name in names:
        for target in [*targets, "/files/", "/files/n/"]:
            seen.add(str(pair.get(target, host=name)))
        for target in ("/a", "/n", "/n?i=1"):
            for number in range(1, len(LEVELS) + 1):
                seen.add(str(pair.get(target, f"X-Real: 10.0.0.{number}", host=name)))
    assert len(seen) > 50
