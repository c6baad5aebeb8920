"""What a supervisor that is killed, stopped or reloaded does to the connections that are there."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.gateway import Gateway, free_port
from helpers.instance import Instance, kill
from helpers.raw import Raw, Reply
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytest.importorskip("flask")

APP = """
import time
from pathlib import Path
from flask import Flask

app = Flask(__name__)

@app.get("/slow")
def slow():
    Path("running").touch()
    while not Path("finish").exists():
        time.sleep(0.02)
    return "whole"

@app.get("/hang")
def hang():
    time.sleep(10**6)

@app.get("/")
def index():
    return "index"
"""
GET = b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Instance]]:
    running: list[Instance] = []
    (tmp_path / "shop.py").write_text(APP)

    def start(*flags: str) -> Instance:
        words = ["serve", "shop:app", "--bind", "127.0.0.1:0", "--workers", "1", "--access-log", "off"]
        running.append(Instance(tmp_path, *words, *flags))
        return running[-1]

    yield start
    for instance in running:
        (tmp_path / "finish").touch()
        with contextlib.suppress(ProcessLookupError):
            instance.signal(signal.SIGCONT)
        instance.end()


@pytest.fixture
def run_file(tmp_path: Path) -> Iterator[Callable[[str], Gateway]]:
    running: list[Gateway] = []

    def start(toml: str) -> Gateway:
        running.append(Gateway(tmp_path, toml, {"BUCHNER_STATE_DIR": str(tmp_path / "state")}))
        return running[-1]

    yield start
    for gateway in running:
        gateway.process.send_signal(signal.SIGCONT)
        gateway.stop()


def ended(pids: list[int]) -> bool:
    """Whether they have all ended; orphans that nobody reaps (PID 1 may not) count as ended."""
    states = []
    for pid in pids:
        with contextlib.suppress(OSError):
            states.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
    return all(state == "Z" for state in states)


def in_the_background(port: int, target: bytes) -> tuple[threading.Thread, list[Reply]]:
    replies: list[Reply] = []

    def ask() -> None:
        with Raw(port, 60) as client:
            client.send(GET % target)
            replies.append(client.reply())

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, replies


@pytest.mark.parametrize("unread", [False, True], ids=["nothing unread", "a message unread"])
def test_a_killed_supervisor_costs_no_running_or_queued_request(serve: Callable[..., Instance], unread: bool) -> None:
    instance = serve("--threads", "2", "--timeout", "2" if unread else "60")
    (instance.directory / "running").unlink(missing_ok=True)
    processes = [*instance.gateways(), *instance.workers()]
    if unread:  # the gateway's word of it resets the connection when the supervisor goes
        instance.signal(signal.SIGSTOP)
        assert instance.get("/hang").status == 504
    first, replies = in_the_background(instance.port, b"/slow")
    wait_for((instance.directory / "running").exists, "the request runs")
    others = [] if unread else [in_the_background(instance.port, b"/slow") for _ in range(3)]
    kept = Raw(instance.port)
    kept.send(GET % b"/hang"[:1])
    if not unread:
        wait_for(lambda: instance.status()["gateway"]["connections"] >= 5, "all requests came")
    kill(instance.process.pid)
    (instance.directory / "finish").touch()
    for thread, several in [(first, replies), *others]:
        thread.join(60)
        assert [reply.body for reply in several] == [b"whole"]
    assert kept.reply().body == b"index"
    kept.socket.close()
    if not unread:
        wait_for(lambda: ended(processes), "gateway and worker ended", 30)
    assert "Traceback" not in instance.log
    assert "the supervisor is gone" in instance.log
    for pid in processes:  # a request hangs in the worker
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_worker_that_imports_does_not_outlive_a_killed_supervisor(
    serve: Callable[..., Instance], tmp_path: Path
) -> None:
    instance = serve()
    (tmp_path / "shop.py").write_text("open('importing', 'w').close()\nimport time\ntime.sleep(10**6)\n")
    instance.signal(signal.SIGHUP)
    wait_for((tmp_path / "importing").exists, "the new worker imports")
    processes = instance.workers()
    assert len(processes) == 2
    kill(instance.process.pid)
    wait_for(lambda: ended(processes), "the workers ended", 30)


def test_a_stopped_supervisor_blocks_no_thread_of_the_gateway(
    run_file: Callable[[str], Gateway], tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(APP)
    hanging = 350  # events of 350 requests fill the socket to the supervisor
    gateway = run_file(f"""
app_timeout = 1
[app]
target = "shop:app"
threads = {hanging}
workers = 1
[[server]]
[[server.route]]
path = "/"
app = true
[[server.route]]
path = "/fixed"
rewrite = [{{ return = {{ status = 200, text = "fixed" }} }}]
""")
    assert gateway.get("/app").status == 404  # the worker is attached
    gateway.process.send_signal(signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Raw(gateway.port, 60)) for _ in range(hanging)]
        for client in clients:
            client.send(GET % b"/hang")
        assert {client.reply().status for client in clients} == {504}
        assert gateway.get("/fixed").body == b"fixed"
        gateway.process.send_signal(signal.SIGCONT)
        wait_for(lambda: gateway.log.count("passed its app_timeout") >= hanging * 0.7, "the supervisor heard of them")


LISTENERS = """
[[server]]
listen = ["127.0.0.1:{first}"]
route = [{{ path = "/", rewrite = [{{ return = {{ status = 200, text = "first" }} }}] }}]
[[server]]
listen = ["127.0.0.1:{second}"]
route = [{{ path = "/", rewrite = [{{ return = {{ status = 200, text = "second" }} }}] }}]
"""


def answer(client: Raw) -> tuple[bytes, str | None]:
    client.send(GET % b"/")
    reply = client.reply()
    return reply.body, reply.get("connection")


def test_a_connection_keeps_the_listener_that_accepted_it(run_file: Callable[[str], Gateway]) -> None:
    second, third = free_port(), free_port()
    gateway = run_file(
        LISTENERS.format(first="{port}", second=second).replace('listen = ["127.0.0.1:{port}"]\n', "", 1)
    )

    def reload(text: str, times: int) -> None:
        gateway.file.write_text(text)
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: gateway.log.count("reloaded:") == times, "the reload")

    with Raw(gateway.port) as one, Raw(second) as two:
        assert answer(one) == (b"first", None)
        assert answer(two) == (b"second", None)
        both = LISTENERS.format(first=gateway.port, second=second)
        swapped = "".join(f"[[server]]{server}" for server in reversed(both.split("[[server]]")[1:]))
        reload(swapped, 1)
        assert answer(one) == (b"first", None)
        assert answer(two) == (b"second", None)
        moved = LISTENERS.format(first=gateway.port, second=third)
        reload(moved, 2)
        assert answer(one) == (b"first", None)
        assert answer(two) == (b"second", "close")
    with Raw(third) as three, Raw(gateway.port) as one:
        assert answer(three) == (b"second", None)
        assert answer(one) == (b"first", None)
        gateway.process.send_signal(signal.SIGTERM)  # a stop closes all listeners, and connections have a moment
        wait_for(lambda: "stopping" in gateway.log, "the stop")
        wait_for(lambda: not listens(third), "no more accepting")
        assert answer(three) == (b"second", "close")


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize("limit", ["open_files = 128", "max_connections = 60"])
@pytest.mark.parametrize("threads", [1, 2])
def test_idle_connections_are_given_up_for_new_ones(
    run_file: Callable[[str], Gateway], limit: str, threads: int
) -> None:
    gateway = run_file(f"""
[gateway]
{limit}
io_threads = {threads}
[[server]]
route = [{{ path = "/", rewrite = [{{ return = {{ status = 200, text = "fixed" }} }}] }}]
""")
    idle = []
    for _ in range(20):
        idle.append(Raw(gateway.port))
        assert answer(idle[-1])[0] == b"fixed"
    idle += [Raw(gateway.port) for _ in range(130)]
    for _ in range(5):
        with Raw(gateway.port, 5) as client:
            assert answer(client)[0] == b"fixed"
    for client in idle:
        client.socket.close()
