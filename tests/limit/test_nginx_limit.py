"""Limits by key: Buchner and nginx on the same file let the same requests in."""

from __future__ import annotations

import random
import re
import subprocess
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from helpers.gateway import BUCHNER
from helpers.nginx import get
from helpers.raw import Raw
from helpers.upstream import answer
from helpers.wait import wait_for

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from helpers.nginx import Pair, Server
    from helpers.upstream import Upstream

    RunPair = Callable[[str], Pair]

ARRIVALS = 10_000
RATES = """
limit_req_zone $arg_a zone=a:1m rate=1r/m;
limit_req_zone $arg_b zone=b:1m rate=2r/m;
limit_req_zone $arg_a$arg_b zone=both:1m rate=1r/m;
limit_conn_zone $arg_a zone=conn:1m;
keepalive_requests 100000;
add_header X-Limit "$limit_req_status $limit_conn_status" always;
limit_req zone=a burst=3 nodelay;
server {
    listen 127.0.0.1:PORT;
    limit_req_status 429;
    location / { return 404; }
    location /own { limit_req zone=b; root DIR; }
    location /inherited { root DIR; }
    location /several {
        limit_req zone=a burst=6 nodelay; limit_req zone=b burst=5 nodelay; limit_req zone=both burst=2 nodelay;
        limit_conn conn 1; root DIR; }
    location /status { limit_req zone=both burst=1 nodelay; limit_req_status 509; root DIR; }
    location /dry { limit_req zone=a burst=4 delay=2; limit_req zone=b burst=4; limit_req_dry_run on; root DIR; }
}
"""


def _decisions(server: Server, targets: list[str]) -> list[tuple[int, str | None]]:
    """Ask for one after the other on one connection, and return the statuses and what the variables said."""
    found = []
    with Raw(server.port) as raw:
        for target in targets:
            raw.send(f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
            reply = raw.reply()
            found.append((reply.status, reply.get("x-limit")))
    return found


def test_ten_thousand_random_arrivals(run_pair: RunPair) -> None:
    """The rates are so slow that it does not matter when a request comes: the slowest takes a minute for one."""
    draw = random.Random(13)
    paths = ("/own", "/inherited", "/several", "/status", "/dry")
    keys = ["", *(f"k{number}" for number in range(150))]
    targets = [
        f"{draw.choice(paths)}?a={draw.choice(keys)}&b={draw.choice(keys)}&n={number}" for number in range(ARRIVALS)
    ]
    pair = run_pair(RATES)
    theirs, ours = _decisions(pair.nginx, targets), _decisions(pair.buchner, targets)
    different = [(target, one, other) for target, one, other in zip(targets, theirs, ours, strict=True) if one != other]
    assert not different, f"{len(different)} of {ARRIVALS}, the first: {different[:3]}"
    seen = Counter(found for _, said in theirs for found in (said or "").split(" ")[:1])
    assert {"PASSED", "REJECTED", "REJECTED_DRY_RUN", "DELAYED_DRY_RUN", ""} == set(seen)
    assert min(seen.values()) > ARRIVALS / 500, seen
    assert {429, 509, 404} <= {status for status, _ in theirs}


def test_requests_above_the_rate_wait(run_pair: RunPair) -> None:
    pair = run_pair(
        """limit_req_zone $arg_k zone=a:1m rate=4r/s;
        server { listen 127.0.0.1:PORT; add_header X-Limit $limit_req_status always; limit_req_log_level warn;
        location / { limit_req zone=a burst=2; root DIR; }
        location /some { limit_req zone=a burst=3 delay=2; root DIR; } }"""
    )
    for server in (pair.nginx, pair.buchner):
        times = [server.timed(get(f"/?k={server.port}"))[1] for _ in range(3)]
        # One that waited came as much later as it waited: the next is as early as it was.
        assert times[0] < 0.2 < times[1] < 0.6, (times, server.file)
        assert 0.2 < times[2] < 0.6, (times, server.file)
        with Raw(server.port) as first, Raw(server.port) as second, Raw(server.port) as third, Raw(server.port) as last:
            for raw in (first, second, third, last):
                raw.send(get("/some?k=x"))
            replies = [raw.reply() for raw in (first, second, third, last)]
        said = [reply.get("x-limit") for reply in replies]
        assert sorted(said, key=str) == ["DELAYED", "PASSED", "PASSED", "PASSED"], server.file


def test_what_is_refused_or_delayed_is_logged(run_pair: RunPair) -> None:
    pair = run_pair(
        """limit_req_zone $arg_k zone=a:1m rate=1r/m; limit_conn_zone $arg_k zone=c:1m;
        server { listen 127.0.0.1:PORT;
        location / { limit_req zone=a nodelay; root DIR; }
        location /notice { limit_req zone=a; limit_req_log_level notice; root DIR; }
        location /dry { limit_req zone=a; limit_req_dry_run on; limit_req_log_level warn; root DIR; }
        location /late { limit_req zone=a burst=9; limit_req_dry_run on; root DIR; } }"""
    )
    for server in (pair.nginx, pair.buchner):
        for target in ("/", "/", "/notice", "/dry", "/late", "/?k="):
            server.ask(get(target if "?" in target else f"{target}?k=a"))
        log = server.file.parent / "error.log"
        wait_for(lambda log=log: "delaying" in log.read_text(), "the last line")  # type: ignore[misc]
        found = re.findall(
            r"\[([a-z]+)\].*?((?:limiting|delaying) requests?[^:]*), excess: \d+\.\d{3},? by zone \"(\w+)\"",
            log.read_text(),
        )
        assert found == [
            ("error", "limiting requests", "a"),
            ("notice", "limiting requests", "a"),
            ("warn", "limiting requests, dry run", "a"),
            ("warn", "delaying request, dry run", "a"),
        ], server.file


CONNECTIONS = """
limit_conn_zone $arg_k zone=key:1m;
limit_conn_zone $server_name zone=all:1m;
add_header X-Limit $limit_conn_status always;
limit_conn key 1;
server {
    listen 127.0.0.1:PORT;
    location / { limit_conn key 2; limit_conn all 4; proxy_pass http://127.0.0.1:UP; }
    location /one { proxy_pass http://127.0.0.1:UP; }
    location /status { limit_conn key 1; limit_conn_status 429; limit_conn_log_level info; root DIR; }
    location /dry { limit_conn key 1; limit_conn_dry_run on; limit_conn_log_level notice; root DIR; }
}
"""


def test_connections_are_limited_while_their_requests_are_served(
    run_pair: RunPair, run_upstream: Callable[..., Upstream]
) -> None:
    go = threading.Event()
    waiting: list[bytes] = []
    reply = answer(b"done")

    def script(connection: socket.socket, head: bytes) -> bool:
        if b"/quick" not in head:
            waiting.append(head)
            go.wait(30)
        return reply(connection, head)

    pair = run_pair(CONNECTIONS.replace("UP", str(run_upstream(script).port)))
    for server in (pair.nginx, pair.buchner):
        go.clear()
        waiting.clear()
        held = [Raw(server.port) for _ in range(3)]
        for number, (raw, key) in enumerate(zip(held, "aab", strict=True), 1):
            raw.send(get(f"/held?k={key}"))
            wait_for(lambda number=number: len(waiting) == number, "the request at the upstream")  # type: ignore[misc]
        found = [
            (asked.status, asked.get("x-limit"))
            for target in ("/quick?k=a", "/quick?k=b", "/quick?k=c", "/quick", "/one/quick?k=a", "/one/quick")
            if (asked := server.ask(get(target)))
        ]
        assert found == [
            (503, "REJECTED"),
            (200, "PASSED"),
            (200, "PASSED"),
            (200, None),
            (503, "REJECTED"),
            (200, None),
        ], server.file
        assert [server.timed(get(f"/{path}?k=b"))[0] for path in ("status", "dry")] == [429, 404], server.file
        go.set()
        assert [raw.reply().status for raw in held] == [200, 200, 200]
        for raw in held:
            raw.socket.close()
        wait_for(lambda server=server: server.timed(get("/one/quick?k=a"))[0] == 200, "the permit")  # type: ignore[misc]
        text = (server.file.parent / "error.log").read_text()
        levels = re.findall(r"\[([a-z]+)\].*?limiting connections((?:, dry run,)?) by zone \"(\w+)\"", text)
        assert levels == [
            ("error", "", "key"),
            ("error", "", "key"),
            ("info", "", "key"),
            ("notice", ", dry run,", "key"),
        ], server.file


BROKEN = (
    "limit_req_zone $arg_a zone=a:1k rate=1r/s;",
    "limit_req_zone $arg_a zone=a rate=1r/s;",
    "limit_req_zone $arg_a zone=a:1m rate=0r/s;",
    "limit_req_zone $arg_a zone=a:1m rate=5/minute;",
    "limit_req_zone $none zone=a:1m rate=1r/s;",
    "limit_req_zone $arg_a rate=1r/s foo;",
    "limit_req_zone $arg_a zone=a:1m rate=1r/s; limit_req_zone $arg_b zone=a:1m rate=1r/s;",
    "limit_req_zone $arg_a zone=a:1m rate=1r/s; limit_req zone=a burst=0;",
    "limit_req_zone $arg_a zone=a:1m rate=1r/s; limit_req zone=a delay=x;",
    "limit_req_zone $arg_a zone=a:1m rate=1r/s; limit_req zone=a foo;",
    "limit_req_zone $arg_a zone=a:1m rate=1r/s; limit_req burst=1;",
    "limit_req_zone $arg_a zone=a:1m rate=1r/s; limit_req zone=a; limit_req zone=a;",
    "limit_req zone=nowhere;",
    "limit_req_status 200;",
    "limit_req_log_level crit;",
    "limit_conn_zone $arg_a zone=a:1k;",
    "limit_conn_zone $arg_a foo;",
    "limit_conn nowhere 1;",
    "limit_conn_zone $arg_a zone=a:1m; limit_conn a 0;",
    "limit_conn_zone $arg_a zone=a:1m; limit_conn a 65536;",
    "limit_conn_zone $arg_a zone=a:1m; limit_conn a 1; limit_conn a 2;",
    "limit_conn_status 600;",
)


@pytest.mark.parametrize("text", BROKEN)
def test_what_nginx_refuses_is_refused_with_its_line(
    text: str, require_peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("conf")
    conf = directory / "nginx.conf"
    conf.write_text(
        f"pid {directory}/pid;\nerror_log stderr;\nevents {{ }}\nhttp {{\n{text}\n"
        "server { listen 127.0.0.1:8080; access_log off; } }\n"
    )
    theirs = subprocess.run([require_peer("nginx"), "-t", "-c", str(conf)], capture_output=True, text=True, check=False)
    assert theirs.returncode == 1, theirs.stderr
    ours = subprocess.run([*BUCHNER, "check", str(conf)], capture_output=True, text=True, check=False)
    assert ours.returncode == 2, ours.stdout
    assert f"{conf}:5:" in ours.stdout + ours.stderr
