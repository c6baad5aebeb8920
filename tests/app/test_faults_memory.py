"""Large bodies stream through: the memory of gateway and worker stays flat, up and down, buffered or not.

100 MiB in CI, 1 GiB in `make chaos`; the bound is the same.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from helpers.big import PIECE, BigServer, Growth, checksum, download, upload
from helpers.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("flask")

BOUND = 16 << 20
"""Bytes a process may grow by while a body of any size goes through."""

APP = """
import zlib
from flask import Flask, Response, request
app = Flask(__name__)
PIECE = bytes(range(256)) * 4096

@app.post("/<path:where>")
def up(where):
    size, crc = 0, 0
    while piece := request.stream.read(65536):
        size, crc = size + len(piece), zlib.crc32(piece, crc)
    return f"{size} {crc}"

@app.get("/<path:where>")
def down(where):
    count = int(request.args["pieces"])
    length = {"Content-Length": str(count << 20)} if "length" in where else {}
    return Response((PIECE for _ in range(count)), headers=length)
"""

TOML = """
[gateway]
{user}
spool_max = "3g"

[app]
target = "big:app"
workers = 1

[upstream.big]
servers = ["127.0.0.1:{upstream}"]

[[server]]
listen = ["127.0.0.1:0"]
access_log = false
max_body = 0

[[server.route]]
path = "/app/"
app = true

[[server.route]]
path = "/app/straight/"
app = true
request_buffering = false
buffering = false

[[server.route]]
path = "/proxy/"
proxy = "http://big"

[[server.route]]
path = "/proxy/straight/"
proxy = "http://big"
request_buffering = false
buffering = false

[[server.route]]
path = "/files/"
files = "files/"
"""


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    upstream = BigServer()
    directory = tmp_path_factory.mktemp("big")
    (directory / "big.py").write_text(APP)
    (directory / "files").mkdir()
    user = 'user = "root"' if os.geteuid() == 0 else ""  # the test's files are root's
    (directory / "gateway.toml").write_text(TOML.format(user=user, upstream=upstream.port))
    instance = Instance(directory, "run", "gateway.toml")
    yield instance
    status = instance.end()
    print(instance.log)  # noqa: T201 - shown where the test failed
    assert status == 0
    upstream.close()


full = [pytest.mark.chaos, pytest.mark.timeout(900)]
sizes = pytest.mark.parametrize("pieces", [pytest.param(100, id="short"), pytest.param(1024, id="full", marks=full)])


def flat(growth: Growth, instance: Instance) -> None:
    names = {pid: "gateway" if pid in instance.gateways() else "worker" for pid in growth.by_pid}
    words = ", ".join(f"{names[pid]} +{grown >> 10} KiB" for pid, grown in growth.by_pid.items())
    print(words)  # noqa: T201 - what `make chaos` is run for
    assert max(growth.by_pid.values()) < BOUND, words
    assert instance.status()["gateway"]["spooled_bytes"] == 0


@sizes
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("route", ["/app/", "/app/straight/", "/proxy/", "/proxy/straight/"])
def test_an_upload_passes_through_flat_memory(instance: Instance, route: str, pieces: int, *, chunked: bool) -> None:
    assert upload(instance.port, route + "warm-up", 2, chunked=chunked) == checksum(2)
    with Growth([*instance.gateways(), *instance.workers()]) as growth:
        assert upload(instance.port, route + "up", pieces, chunked=chunked) == checksum(pieces)
    flat(growth, instance)


@sizes
@pytest.mark.parametrize("slowly", [False, True], ids=["fast", "slow"])
@pytest.mark.parametrize("route", ["/app/", "/app/length/", "/app/straight/", "/proxy/", "/proxy/straight/", "/files/"])
def test_a_download_passes_through_flat_memory(instance: Instance, route: str, pieces: int, *, slowly: bool) -> None:
    for count in (2, pieces):
        with (instance.directory / "files" / f"{count}").open("wb") as file:
            for _ in range(count):
                file.write(PIECE)
    assert download(instance.port, f"{route}2?pieces=2", slowly=False) == checksum(2)
    with Growth([*instance.gateways(), *instance.workers()]) as growth:
        assert download(instance.port, f"{route}{pieces}?pieces={pieces}", slowly=slowly) == checksum(pieces)
    flat(growth, instance)
    for count in (2, pieces):
        (instance.directory / "files" / f"{count}").unlink()
