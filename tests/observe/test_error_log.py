"""Error logs: levels, places of their own, and what a line says of its request; beside nginx on the same file."""

from __future__ import annotations

import os
import re
import socket
from typing import TYPE_CHECKING

import pytest

from buchner.config.native import check_plan
from buchner.errors import ConfigError
from buchner.nginx.adapt import load_nginx
from helpers.nginx import get
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.gateway import Gateway
    from helpers.nginx import Pair, Server

CONF = """
error_log DIR/http-PORT.log;
server {
    listen 127.0.0.1:PORT;
    server_name test;
    root DIR/none;
    location /http { }
    location /own { error_log DIR/own-PORT.log error; }
    location /two { error_log DIR/one-PORT.log; error_log DIR/two-PORT.log info; }
    location /grave { error_log DIR/grave-PORT.log crit; }
    location /quiet { error_log DIR/quiet-PORT.log; log_not_found off; }
    location /back { error_log DIR/back-PORT.log error; proxy_pass http://127.0.0.1:1; }
    location /nested { error_log DIR/outer-PORT.log; location /nested/in { error_log DIR/inner-PORT.log; } }
}
server {
    listen 127.0.0.1:PORT;
    server_name other;
    error_log DIR/server-PORT.log;
    root DIR/none;
}
"""
WRITTEN = {
    "/http/x": ("test", {"http"}),
    "/own/x": ("test", {"own"}),
    "/two/x": ("test", {"one", "two"}),
    "/grave/x": ("test", set()),
    "/quiet/x": ("test", set()),
    "/back/x": ("test", {"back"}),
    "/nested/x": ("test", {"outer"}),
    "/nested/in/x": ("test", {"inner"}),
    "/x": ("other", {"server"}),
}


def about(directory: Path, server: Server, target: str) -> dict[str, str]:
    """Return the line about a target in each log of a server."""
    found = {}
    for file in directory.glob(f"*-{server.port}.log"):
        for line in file.read_text().splitlines():
            if f"GET {target} HTTP" in line:
                found[file.name.partition("-")[0]] = line
    return found


def request_of(line: str) -> list[str]:
    """Return what a line says of its request, in the words nginx has for it."""
    return re.findall(r'(?:client|server|request|host): (?:"[^"]*"|[^,]*)', line)


def test_a_line_is_in_the_logs_of_its_place_and_names_its_request(
    run_pair: Callable[[str], Pair], tmp_path: Path
) -> None:
    pair = run_pair(CONF)
    for target, (host, names) in WRITTEN.items():
        lines = []
        for server in (pair.nginx, pair.buchner):
            reply = server.ask(get(target, host=host))
            assert reply is not None
            assert reply.status == (502 if target.startswith("/back") else 404)
            wait_for(lambda: set(about(tmp_path, server, target)) >= names, f"lines about {target}")  # noqa: B023
            lines.append(about(tmp_path, server, target))
        theirs, ours = lines
        assert set(ours) == set(theirs) == names
        for name in names:
            assert request_of(ours[name]) == request_of(theirs[name])
            assert "[error]" in ours[name]
        if names and not target.startswith("/back"):
            path = f"{tmp_path}/none{target}"
            assert all(f'open() "{path}" failed (2: No such file or directory)' in line for line in ours.values())


def test_what_is_not_serious_enough_is_dropped(run_gateway: Callable[[str], Gateway]) -> None:
    bad = b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"
    lines = '[[server]]\n[[server.route]]\npath = "/"\nproxy = "http://127.0.0.1:1"\n'
    loud, quiet = run_gateway(lines), run_gateway(f'[gateway]\nerror_level = "error"\n{lines}')
    for gateway in (loud, quiet):
        assert gateway.ask(bad).status == 400
        assert gateway.get("/").status == 502
        wait_for(lambda: "[error] 502: " in gateway.log, "the error")  # noqa: B023
    assert "[notice] 400: " in loud.log
    assert "[notice]" not in quiet.log


def test_syslog_has_the_level_as_its_severity(run_gateway: Callable[[str], Gateway]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inbox:
        inbox.bind(("127.0.0.1", 0))
        inbox.settimeout(20)
        place = f"syslog:server=127.0.0.1:{inbox.getsockname()[1]},facility=local0,tag=web,nohostname"
        gateway = run_gateway(
            f'[[server]]\nerror_log = {{ path = "{place}", level = "warn" }}\n'
            '[[server.route]]\npath = "/"\nproxy = "http://127.0.0.1:1"\n'
        )
        assert gateway.get("/a").status == 502
        seen = [inbox.recv(4096).decode()]
        while "502: " not in seen[-1]:
            seen.append(inbox.recv(4096).decode())
        assert all(re.match(r"<13[12]>[A-Z][a-z]{2} ", line) for line in seen)  # local0 is 16: error 131, warn 132
        assert seen[-1].startswith("<131>")
        assert " web: " in seen[-1]
        assert 'request: "GET /a HTTP/1.1"' in seen[-1]
    assert "502: " not in gateway.log


def test_what_a_client_sends_does_not_end_a_line(run_gateway: Callable[[str], Gateway], tmp_path: Path) -> None:
    user = '[gateway]\nuser = "root"\n' if os.geteuid() == 0 else ""  # who may write where the test may
    gateway = run_gateway(
        f'{user}[[server]]\nerror_log = "e.log"\nlog_not_found = true\n[[server.route]]\npath = "/"\nfiles = "."\n'
    )
    assert gateway.get("/a%0a%22b").status == 404
    file = tmp_path / "gateway0" / "e.log"
    wait_for(lambda: file.exists() and "open()" in file.read_text(), "the line")
    assert all(re.match(r"\d{4}/\d\d/\d\d ", line) for line in file.read_text().splitlines())


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("error_log /x loud;", "is no level of a log"),
        ("error_log memory:32m debug;", '"memory:32m" is refused'),
        ("error_log syslog:tag=x;", "no server is given"),
    ],
)
def test_what_cannot_be_is_refused(line: str, says: str, tmp_path: Path) -> None:
    def check() -> None:
        check_plan(load_nginx(tmp_path / "nginx.conf", f"{line} server {{ listen 127.0.0.1:1; }}").plan_json().decode())

    with pytest.raises(ConfigError) as raised:
        check()
    assert says in str(raised.value)
