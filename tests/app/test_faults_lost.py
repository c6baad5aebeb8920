"""Workers that can't serve any more while their process lives: the supervisor is told, whatever the cause, and replaces
them; what only one request lacks costs that request alone."""

from __future__ import annotations

import base64
import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buchner.config.load import load_dict
from helpers.instance import Instance, kill
from helpers.load import APP
from helpers.raw import Raw, Reply
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytest.importorskip("flask_sock")

Run = Callable[..., Instance]

SHOP = (
    APP
    + '''
import ctypes, pathlib, resource, socket, threading
from flask import send_file
from flask_sock import Sock

while (pathlib.Path(__file__).parent / "hang").exists():
    time.sleep(0.1)

@Sock(app).route("/echo")
def echo(ws):
    while True:
        ws.send(ws.receive())

@app.get("/close")
def close():
    os.closerange(3, 4096)
    return "closed"

@app.get("/shut")
def shut():
    """Ends the sockets of the slots, and nothing else."""
    for name in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as sock:
                if sock.type == socket.SOCK_STREAM and sock.family == socket.AF_UNIX:
                    sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
    return "shut"

@app.get("/hold")
def hold():
    """C code holds the interpreter a moment after this request."""
    threading.Timer(0.2, lambda: ctypes.PyDLL(None).sleep(1000)).start()
    return "soon"

@app.get("/starve")
def starve():
    """Little more memory may be had."""
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + 100_000, -1))
    return "starved"

@app.get("/file")
def file():
    return send_file(__file__)
'''
)

TOML = """
[gateway]
{user}
io_threads = 1
{gateway}

[app]
target = "shop:app"
workers = {workers}
{app}

[[server]]
listen = ["127.0.0.1:0"]
access_log = false
{server}

[[server.route]]
path = "/"
app = true
"""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run the app above with these settings of the gateway, the app and the server."""
    running: list[Instance] = []
    (tmp_path / "shop.py").write_text(SHOP)

    def start(
        gateway: str = "", app: str = "", server: str = "", workers: int = 1, command: Sequence[str] = ("-m", "buchner")
    ) -> Instance:
        user = 'user = "root"' if os.geteuid() == 0 else ""
        toml = TOML.format(user=user, gateway=gateway, app=app, server=server, workers=workers)
        (tmp_path / "gateway.toml").write_text(toml)
        running.append(Instance(tmp_path, "run", "gateway.toml", command=command))
        return running[-1]

    yield start
    for instance in running:
        assert instance.end() == 0, instance.log[-5000:]


UPGRADE = (
    "GET /echo HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n\r\n"
)


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def recovers(instance: Instance, before: list[int], seconds: float = 10) -> None:
    """Wait until none of the workers from before is left and the app responds."""
    wait_for(lambda: instance.get("/pid").status == 200 and not {*before} & {*instance.workers()}, "recovery", seconds)


def test_an_upgrade_without_a_descriptor_left_fails_alone(run: Run) -> None:
    instance = run("open_files = 100", workers=2)
    before = instance.ready_workers()
    (gateway,) = instance.gateways()
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(Raw(instance.port)) for _ in range(4)]
        for raw in kept:  # idle ones would be given up for others
            raw.send("GET /pid HTTP/1.1\r\nHost: test\r\n\r\n")
            assert raw.reply().status == 200
            raw.send(UPGRADE[:-2])
        for _ in range(150):
            stack.enter_context(Raw(instance.port)).send("GET / HTTP/1.1\r\nHost:")
        wait_for(lambda: descriptors(gateway) >= 98, "the last descriptor is taken")
        replies = []
        for raw in kept:
            raw.send(UPGRADE[-2:])
            with contextlib.suppress(EOFError, ConnectionError):
                replies.append(raw.reply().status)
        assert set(replies) <= {101, 503}
        assert 503 in replies
    assert wait_for(lambda: instance.get("/pid").status == 200, "a response after the flood", 5)
    assert instance.ready_workers() == before, instance.log
    assert instance.status()["gateway"]["pools"]["app"]["slots"] == 4


UNPRIVILEGED = """
import ctypes, os, sys
if os.geteuid() == 0:
    for capability in (21, 24):  # CAP_SYS_ADMIN and CAP_SYS_RESOURCE: with them there is no limit
        assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0, "PR_CAPBSET_DROP"
os.execv(sys.executable, [sys.executable, "-m", "buchner", *sys.argv[1:]])
"""

IN_FLIGHT = """
import array, socket, sys
pair, some = socket.socketpair(), array.array("i", [0] * 250)
for _ in range(3):
    pair[0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, some)])
print("sent", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def descriptors_in_flight(pid: int) -> Iterator[None]:
    """The user has 750 descriptors in sockets that nobody reads, and the process a limit of 700 (unix(7))."""
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with subprocess.Popen(
        [sys.executable, "-c", IN_FLIGHT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "sent\n"
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (700, limits[1]))
        yield
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        holder.communicate()


@pytest.mark.parametrize("sender", ["gateway", "worker"])
def test_a_descriptor_that_the_kernel_refuses_to_send_costs_its_request_and_nothing_else(run: Run, sender: str) -> None:
    instance = run(command=("-c", UNPRIVILEGED))
    workers = instance.ready_workers()
    (gateway,) = instance.gateways()

    def ask() -> Reply:
        if sender == "worker":
            return instance.get("/file")
        return instance.get("/n/1", "POST", body=bytes(2 << 20))  # more than a message holds: in a file

    assert ask().status == 200
    with descriptors_in_flight(gateway if sender == "gateway" else workers[0]):
        for number in range(3):
            reply = ask()
            assert (reply.status, reply.get("x-buchner-error")) == (503, "exhausted")
            assert instance.get(f"/n/{number}").body == b"GET %d 0" % number
    reply = ask()
    assert reply.status == 200
    assert reply.body == (b"POST 1 %d" % (2 << 20) if sender == "gateway" else SHOP.encode())
    assert "flight (open_files)" in instance.log
    assert instance.ready_workers() == workers, "the worker is none the worse for it"


def test_a_worker_is_replaced_while_connections_have_taken_every_descriptor(run: Run) -> None:
    instance = run("open_files = 100")
    (worker,) = instance.ready_workers()
    (gateway,) = instance.gateways()
    with contextlib.ExitStack() as stack:
        for _ in range(150):
            stack.enter_context(Raw(instance.port)).send("GET / HTTP/1.1\r\nHost:")
        wait_for(lambda: descriptors(gateway) >= 98, "the last descriptor is taken")
        kill(worker)
        wait_for(lambda: instance.ready_workers() not in ([], [worker]), "the replacement")
        wait_for(lambda: instance.status()["gateway"]["pools"]["app"]["slots"] == 2, "its slots at the gateway", 5)
    assert wait_for(lambda: instance.get("/pid").status == 200, "a response after the flood", 5)
    assert "cannot use it" not in instance.log


@pytest.mark.parametrize(
    ("query", "fields", "status"), [(400_000, 0, 414), (300_000, 200_000, 414), (0, 1_100_000, 431)]
)
def test_a_head_that_no_frame_holds_is_refused_and_harms_no_worker(
    run: Run, query: int, fields: int, status: int
) -> None:
    instance = run(server='max_head = "2m"\nmax_target = "512k"')
    before = instance.ready_workers()
    lines = [f"X-{number}: {'a' * 8000}" for number in range(fields // 8000)]
    assert instance.get(f"/pid?{'q' * query}", "GET", *lines).status == status
    assert instance.get("/pid").body == str(before[0]).encode()


def test_more_slots_than_the_usual_soft_limit_of_open_files(run: Run) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        instance = run(app="threads = 1100")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert instance.get("/pid").status == 200
    # They come in several messages, and the first answers before the last is open.
    wait_for(lambda: instance.status()["gateway"]["pools"]["app"]["slots"] == 1100, "all slots", 10)


@pytest.mark.parametrize("target", ["/close", "/shut"])
def test_an_app_that_closes_the_worker_s_descriptors_has_its_worker_replaced(run: Run, target: str) -> None:
    instance = run()
    before = instance.ready_workers()
    instance.get(target)
    recovers(instance, before, 5)
    instance.says(" is lost: it closed ")
    assert "is killed and replaced" in instance.log


def test_a_worker_without_memory_for_a_request_is_well_again_or_replaced(run: Run) -> None:
    instance = run(server='max_head = "1m"')
    assert instance.get("/starve").status == 200
    lines = [f"X-{number}: {'a' * 8000}" for number in range(100)]
    with ThreadPoolExecutor(10) as clients:
        list(clients.map(lambda _: instance.get("/pid", "GET", *lines), range(10)))
    wait_for(lambda: instance.get("/pid").status == 200, "a response", 5)


def test_an_interpreter_held_outside_a_request_is_noticed(run: Run) -> None:
    instance = run(app="heartbeat = 1")
    before = instance.ready_workers()
    assert instance.get("/hold").body == b"soon"
    instance.says("is lost: its interpreter has not run for 1 s (heartbeat)", 10)
    recovers(instance, before)
    instance.says("the stacks of worker 1 (pid ")
    assert "in hold" in instance.log or "<lambda>" in instance.log, instance.log


def test_a_stopped_worker_is_noticed(run: Run) -> None:
    instance = run(app="heartbeat = 1", workers=2)
    before = instance.ready_workers()
    os.kill(before[0], signal.SIGSTOP)
    wait_for(lambda: before[0] not in instance.workers(), "the stopped worker is killed", 15)
    wait_for(lambda: len(instance.ready_workers()) == 2, "the replacement")
    assert before[1] in instance.ready_workers()
    assert all(instance.get("/pid").status == 200 for _ in range(10))


def test_a_replacement_that_hangs_while_it_is_imported_is_replaced(run: Run) -> None:
    instance = run(app="start_timeout = 6")  # a busy machine takes a while for the first import
    before = instance.ready_workers()
    (instance.directory / "hang").touch()
    kill(before[0])
    instance.says("was killed: it was still importing the app after start_timeout (6 s)", 30)
    (instance.directory / "hang").unlink()
    recovers(instance, before, 30)


def test_the_heartbeat_s_default_is_the_longest_app_timeout(tmp_path: Path) -> None:
    def heartbeat(document: dict[str, object], app: dict[str, object] | None = None) -> float | None:
        loaded = load_dict({"app": {"target": "a:b", **(app or {})}, **document}, "test", tmp_path)
        return loaded.app["app"].heartbeat

    assert heartbeat({}) == 60
    assert heartbeat({"app_timeout": "5s"}) == 5
    routes = [{"path": "/", "app": True, "app_timeout": "90s"}]
    assert heartbeat({"app_timeout": "5s", "server": [{"route": routes}]}) == 90
    assert heartbeat({"app_timeout": 0}) == 0
    assert heartbeat({"app_timeout": 0}, {"heartbeat": "5s"}) == 5
