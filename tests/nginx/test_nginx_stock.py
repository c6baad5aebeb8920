"""Debian's own nginx.conf with its default site, as the package installs it."""

from __future__ import annotations

import gzip
import os
import re
import socket
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.gateway import BUCHNER, free_port
from helpers.nginx import comparable
from helpers.raw import Raw
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.nginx import Answer

STOCK = Path("/etc/nginx/nginx.conf")
SITE = Path("/etc/nginx/sites-enabled/default")
REQUESTS = {
    "index": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "file": b"GET /index.nginx-debian.html HTTP/1.1\r\nHost: other\r\n\r\n",
    "gzip": b"GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n",
    "missing": b"GET /nothing/here HTTP/1.1\r\nHost: a\r\n\r\n",
    "above": b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    "method": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
}


@dataclass(frozen=True)
class Stock:
    """The file and the port it listens on."""

    file: Path
    port: int


def port_80_is_ours() -> bool:
    if os.geteuid() != 0:
        return False
    try:
        for family, address in ((socket.AF_INET, ""), (socket.AF_INET6, "::")):
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, 80))
    except OSError:
        return False
    return True


@pytest.fixture
def stock(tmp_path: Path, require_peer: Callable[[str], str]) -> Stock:
    """Return the files as they are; where port 80 can't be had, copies with the port, the pid and the logs changed."""
    require_peer("nginx")
    assert STOCK.exists(), "nginx is there, but not Debian's /etc/nginx/nginx.conf"
    if port_80_is_ours():
        return Stock(STOCK, 80)
    port = free_port()
    site = tmp_path / "default"
    site.write_text(re.sub(r"(?m)^(\s*listen\s.*?)80\b", rf"\g<1>{port}", SITE.read_text()))
    text = STOCK.read_text().replace("/etc/nginx/sites-enabled/*", str(site))
    text = re.sub(r"(?m)^\s*user\s.*$", "", text)
    text = text.replace("/run/nginx.pid", f"{tmp_path}/nginx.pid").replace("/var/log/nginx", str(tmp_path))
    copy = tmp_path / "nginx.conf"
    copy.write_text(text)
    return Stock(copy, port)


def plain(answer: Answer) -> Answer:
    """Take out what two compressors do differently, and the Allow that RFC 9110 section 15.5.6 asks of a 405."""
    body = gzip.decompress(answer.body) if ("content-encoding", "gzip") in answer.fields else answer.body
    return replace(answer, fields=[field for field in answer.fields if field[0] != "allow"], body=body)


def answers(command: list[str], stock: Stock, directory: Path) -> dict[str, Answer]:
    """Run a program on the file, ask it everything over both address families, and stop it."""
    output = directory / "output.txt"
    with output.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=directory)
    try:

        def listens() -> bool:
            assert process.poll() is None, output.read_text()
            try:
                Raw(stock.port, 1).socket.close()
            except OSError:
                return False
            return True

        wait_for(listens, "the first accepted connection", 60)
        found = {}
        for name, request in REQUESTS.items():
            with Raw(stock.port) as raw:
                raw.send(request)
                found[name] = plain(comparable(raw.reply(), stock.port))
        with socket.create_connection(("::1", stock.port), 10) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    finally:
        process.terminate()
        process.wait(30)
    return found


def test_the_default_site_is_what_nginx_makes_of_it(
    stock: Stock, tmp_path: Path, require_peer: Callable[[str], str]
) -> None:
    # One test, so that nobody else asks for port 80 meanwhile.
    theirs = answers([require_peer("nginx"), "-g", "daemon off;", "-c", str(stock.file)], stock, tmp_path)
    for words in (["nginx", "-g", "daemon off;", "-c"], ["run"]):
        assert answers([*BUCHNER, *words, str(stock.file)], stock, tmp_path) == theirs
    assert theirs["index"].status == 200
    assert theirs["missing"].status == 404


def test_the_file_passes_the_check(stock: Stock) -> None:
    command = [*BUCHNER, "check", str(stock.file)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "0 refused" in checked.stdout
    assert "ssl_protocols" in checked.stdout
