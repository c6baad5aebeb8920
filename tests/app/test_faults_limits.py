"""Slow clients, no descriptors, a full disk: the others are served, what can't be done is said, and it is over."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

import pytest

from helpers.instance import Instance, private_memory
from helpers.load import APP
from helpers.places import TESTS
from helpers.raw import Raw
from helpers.upstream import Upstream, answer
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("flask")

Run = Callable[..., Instance]

TOML = """
[gateway]
{user}
{gateway}

[app]
target = "shop:app"
workers = 1

[[server]]
listen = ["127.0.0.1:0"]
{server}

[[server.route]]
path = "/"
app = true
"""

BIG = (
    APP
    + """
import hashlib

@app.post("/size")
def size():
    return str(len(request.get_data()))

@app.post("/digest")
def digest():
    return hashlib.sha256(request.get_data()).hexdigest()

@app.get("/big")
def big():
    return b"0123456789abcdef" * (8 << 16)
"""
)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run the app above with these settings of the gateway and the server."""
    running: list[Instance] = []
    (tmp_path / "shop.py").write_text(BIG)

    def start(gateway: str = "", server: str = "access_log = false") -> Instance:
        # Files of the test are root's where root runs it.
        user = 'user = "root"' if os.geteuid() == 0 else ""
        (tmp_path / "gateway.toml").write_text(TOML.format(user=user, gateway=gateway, server=server))
        running.append(Instance(tmp_path, "run", "gateway.toml"))
        return running[-1]

    yield start
    for instance in running:
        assert instance.end() == 0, instance.log[-5000:]


def works(instance: Instance, requests: int = 20) -> None:
    for number in range(requests):
        assert instance.get(f"/n/{number}").body == b"GET %d 0" % number


def test_slow_heads_end_and_hold_up_nobody(run: Run) -> None:
    instance = run(server='access_log = false\nheader_timeout = "1500ms"')
    slow = [Raw(instance.port) for _ in range(300)]
    over = threading.Event()

    def trickle() -> None:
        for raw in slow:
            raw.send("GET / HTTP/1.1\r\nHost: test\r\nX-Slow: ")
        while not over.wait(0.2):
            for raw in slow:
                with contextlib.suppress(OSError):
                    raw.send("x")

    client = threading.Thread(target=trickle)
    client.start()
    try:
        works(instance, 100)
        for raw in slow:
            assert raw.reply().status == 408, "one deadline for the whole head, however it trickles"
            assert raw.closed()
    finally:
        over.set()
        client.join()
        for raw in slow:
            raw.socket.close()
    works(instance)
    wait_for(lambda: instance.status()["gateway"]["connections"] == 0, "all of them are gone")


def latency(port: int, requests: int) -> float:
    """The 99th percentile, in seconds, of requests on one kept connection."""
    taken = []
    with Raw(port) as raw:
        for number in range(requests):
            began = time.perf_counter()
            raw.send(f"GET /n/{number} HTTP/1.1\r\nHost: test\r\n\r\n")
            assert raw.reply().status == 200
            taken.append(time.perf_counter() - began)
    return quantiles(taken, n=100)[98]


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_five_thousand_slow_heads_leave_the_others_their_p99(run: Run) -> None:
    instance = run(server="access_log = false\nkeepalive_requests = 0")
    latency(instance.port, 1000)
    without, beside = [], []
    for _ in range(5):
        without.append(latency(instance.port, 2000))
        slow = subprocess.Popen(
            [sys.executable, "-m", "helpers.slowloris", str(instance.port), "5000", "10"],
            cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert slow.stdout
        assert slow.stdout.readline() == "open\n"
        wait_for(lambda: instance.status()["gateway"]["connections"] >= 5000, "5000 connections", 60)
        beside.append(latency(instance.port, 2000))
        assert slow.communicate(timeout=60)[0] == "0\n", "they were all still open"
        wait_for(lambda: instance.status()["gateway"]["connections"] == 0, "they are gone", 60)
    print(f"p99 without {median(without) * 1e3:.3f} ms, beside 5000 slow heads {median(beside) * 1e3:.3f} ms")  # noqa: T201
    assert median(beside) <= 2 * median(without), (without, beside)


def test_without_descriptors_accepting_pauses_and_goes_on(run: Run) -> None:
    instance = run()
    (gateway,) = instance.gateways()
    with Raw(instance.port) as kept, contextlib.ExitStack() as later:
        kept.send("GET /n/1 HTTP/1.1\r\nHost: test\r\n\r\n")
        assert kept.reply().status == 200
        kept.send("GET /n/0 HTTP/1.1\r\nHost:")  # never idle from here on: it would be given up
        most = len(list(Path(f"/proc/{gateway}/fd").iterdir())) + 8
        resource.prlimit(gateway, resource.RLIMIT_NOFILE, (most, most))
        hogs = [Raw(instance.port) for _ in range(40)]
        for raw in hogs:
            raw.send("GET / HTTP/1.1\r\nHost:")
        instance.says("cannot accept on 127.0.0.1:0")
        assert "raise the limit of open files" in instance.log
        waiting = later.enter_context(Raw(instance.port, 60))
        waiting.send("GET /n/2 HTTP/1.1\r\nHost: test\r\n\r\n")
        for number in range(20):
            kept.send(f" test\r\n\r\nGET /n/{number + 1} HTTP/1.1\r\nHost:")
            assert kept.reply().body == b"GET %d 0" % number, "who is connected is served"
        for raw in hogs:
            raw.socket.close()
        assert waiting.reply().body == b"GET 2 0", "who waited is served"
    wait_for(
        lambda: instance.get("/n/3").status == 200 and "accepting on 127.0.0.1:0 goes on" in instance.log, "the end"
    )
    works(instance)
    assert instance.log.count("cannot accept on") == 1, "one line for one shortage"


@pytest.mark.parametrize("threads", [1, 2])
def test_without_descriptors_the_longest_idle_connections_make_room_and_a_used_one_stays(
    run: Run, threads: int
) -> None:
    instance = run(f"io_threads = {threads}")
    (gateway,) = instance.gateways()
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(Raw(instance.port)) for _ in range(20)]
        used = [stack.enter_context(Raw(instance.port)) for _ in range(4)]
        for raw in (*idle, *used):
            raw.send("GET /n/1 HTTP/1.1\r\nHost: test\r\n\r\n")
            assert raw.reply().status == 200
            time.sleep(0.002)  # times are counted in milliseconds
        most = len(list(Path(f"/proc/{gateway}/fd").iterdir())) + 4
        resource.prlimit(gateway, resource.RLIMIT_NOFILE, (most, most))
        time.sleep(1.1)  # they have not just been used
        for number in range(12):
            for raw in used:
                raw.send(f"GET /n/{number} HTTP/1.1\r\nHost: test\r\n\r\n")
                assert raw.reply().body == b"GET %d 0" % number, "who is busy stays"
            new = stack.enter_context(Raw(instance.port, 5))
            new.send("GET /n/2 HTTP/1.1\r\nHost: test\r\n\r\n")
            assert new.reply().body == b"GET 2 0", "who is new is served"
        there = [not closed(raw) for raw in idle]
        assert sum(there) >= 4, "no more than are needed, and a few at a time"
        assert there == sorted(there), "the longest idle went first"


def closed(raw: Raw) -> bool:
    raw.socket.setblocking(False)
    try:
        return raw.socket.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.fixture(params=["disk", "quota"])
def small_spool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Instance]]:
    """Start with a `spool_dir` for at most 1 MiB: a disk of that size (where mounting is allowed) or a quota."""
    spool = tmp_path / "spool"
    spool.mkdir()
    mounted = False
    if request.param == "disk":
        command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=1777", "tmpfs", str(spool)]
        mounted = os.geteuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0
        if not mounted:
            pytest.skip("mounting a small disk takes root and a machine that allows it")

    def start(run: Run, server: str = "access_log = false") -> Instance:
        instance = run(gateway='spool_dir = "spool"', server=server)
        if request.param == "quota":
            for pid in instance.gateways():
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        return instance

    yield start
    if mounted:
        subprocess.run(["umount", "--lazy", str(spool)], check=True)


LARGE = bytes(number % 251 for number in range(5 << 20))


def test_an_app_gets_a_body_that_the_disk_has_no_room_for(run: Run, small_spool: Callable[..., Instance]) -> None:
    instance = small_spool(run)
    gateways = instance.gateways()
    for _ in range(3):
        reply = instance.get("/digest", "POST", body=LARGE)
        assert (reply.status, reply.body.decode()) == (200, hashlib.sha256(LARGE).hexdigest())
        assert instance.get("/size", "POST", body=bytes(500 << 10)).body == b"%d" % (500 << 10)
    instance.says("app app: cannot write to spool_dir ")
    assert str(instance.directory / "spool") in instance.log
    assert instance.log.count("such bodies are streamed to the app") == 1
    assert instance.gateways() == gateways, "it has not crashed"
    assert instance.status()["gateway"]["spooled_bytes"] == 0
    assert not list((instance.directory / "spool").iterdir())


def test_an_upstream_s_body_without_room_is_507_and_over_when_there_is(
    run: Run, small_spool: Callable[..., Instance]
) -> None:
    upstream = Upstream(answer(b"proxied"))
    route = f'access_log = false\n[[server.route]]\npath = "/proxied/"\nproxy = "http://127.0.0.1:{upstream.port}"\n'
    instance = small_spool(run, route)
    for _ in range(3):
        reply = instance.get("/proxied/", "POST", body=LARGE)
        assert (reply.status, reply.get("x-buchner-error")) == (507, "spool-full")
        assert instance.get("/proxied/", "POST", body=LARGE[: 500 << 10]).body == b"proxied"
    assert upstream.bodies == [LARGE[: 500 << 10]] * 3
    upstream.close()
    instance.says('request: "POST /proxied/')
    assert "cannot write to spool_dir" in instance.log
    assert str(instance.directory / "spool") in instance.log
    assert instance.status()["gateway"]["spooled_bytes"] == 0


def test_an_answer_that_the_disk_has_no_room_for_waits_for_its_client(
    run: Run, small_spool: Callable[..., Instance]
) -> None:
    instance = small_spool(run)
    with Raw(instance.port, 60) as raw:
        raw.send("GET /big HTTP/1.1\r\nHost: test\r\n\r\n")
        works(instance)
        assert raw.reply().body == b"0123456789abcdef" * (8 << 16)
    works(instance)


def test_an_access_log_without_room_costs_its_lines_and_no_request(run: Run) -> None:
    instance = run(server='access_log = "access.log"')
    access = instance.directory / "access.log"
    (gateway,) = instance.gateways()
    works(instance)
    wait_for(lambda: "/n/19 " in access.read_text(), "the lines of requests before")
    most = resource.prlimit(gateway, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(gateway, resource.RLIMIT_FSIZE, (access.stat().st_size, most))
    works(instance)
    instance.says("cannot write to the log")
    resource.prlimit(gateway, resource.RLIMIT_FSIZE, (most, most))
    assert instance.get("/n/77").status == 200
    wait_for(lambda: "/n/77 " in access.read_text(), "the line of a request behind")
    instance.says("is written again")
    assert instance.log.count("cannot write to the log") == 1


def test_an_access_log_that_nobody_takes_costs_lines_and_not_memory(run: Run, tmp_path: Path) -> None:
    """A pipe to a log shipper that hangs, a terminal that is paused."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # opening it waits for a reader
    instance = run(server='access_log = { path = "pipe", format = "$request $http_x_long" }')
    (gateway,) = instance.gateways()
    works(instance)
    before = private_memory(gateway)
    with Raw(instance.port) as raw:
        for number in range(4000):
            raw.send(f"GET /n/{number} HTTP/1.1\r\nHost: test\r\nX-Long: {'x' * 6000}\r\n\r\n")
            reply = raw.reply()
            assert reply.status == 200
            if reply.get("connection") == "close":
                raw.socket.close()
                raw.socket = Raw(instance.port).socket
    assert private_memory(gateway) - before < 16 << 20
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.DEVNULL)
    instance.says("bytes of log lines are lost")
    works(instance)
    reader.kill()
    reader.wait()
