"""The control protocol read by a supervisor that does not believe its children: hostile workers and gateways."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from buchner.supervisor import channel
from buchner.supervisor.channel import Channel
from buchner.supervisor.loop import Loop
from buchner.supervisor.messages import (
    FromGateway,
    FromWorker,
    Refused,
    StaticFolder,
    Stuck,
    WorkerReady,
    printable,
)
from buchner.supervisor.plan import trusted
from buchner.supervisor.process import Child, Reaper, is_child
from buchner.supervisor.worker_process import WorkerProcess, WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = {"url_path": "/s", "folder": "/a"}
SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with any worker: no child of this one."""
    with subprocess.Popen(SLEEPER) as process:
        yield process
        process.kill()


class Events:
    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []

    def worker_ready(self, worker: WorkerProcess) -> None:
        self.said.append(("ready", worker.ready))

    def worker_failed(self, _worker: WorkerProcess, failed: Any) -> None:
        self.said.append(("failed", failed.error))

    def worker_lost(self, worker: WorkerProcess, cause: str) -> None:
        worker.kill(cause)

    def worker_recycles(self, _worker: WorkerProcess, why: str) -> None:
        self.said.append(("recycles", why))

    def worker_ended(self, worker: WorkerProcess, _status: int) -> None:
        self.said.append(("ended", worker.kill_reason))


class Harness:
    """A worker as the supervisor has it; the test is the worker."""

    def __init__(self, *, forked: bool = False) -> None:
        self.loop = Loop()
        self.reaper = Reaper()
        self.loop.on_signal(signal.SIGCHLD, self.reaper.reap)
        self.worker = WorkerProcess(1, "app", 1, -1, self.loop, self.reaper)
        self.events = Events()
        self.worker.events = self.events
        self.worker.is_forked = forked
        ours, self.theirs = channel.pair()
        self.theirs.setblocking(False)
        if not forked:
            self.worker.child = self.reaper.spawn("worker 1", SLEEPER, self.worker.ended)
        self.worker.open(ours)

    def say(self, **message: Any) -> None:
        self.theirs.send(json.dumps(message).encode())

    def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.events.said
            self.loop.turn(0.05)

    def is_killed(self) -> str:
        self.until(lambda: self.worker.state is WorkerState.GONE)
        return self.worker.kill_reason or ""

    def close(self) -> None:
        for child in self.reaper.children():
            child.kill()
        self.until(lambda: not self.reaper.children())
        self.theirs.close()
        self.loop.close()


@pytest.fixture
def harness() -> Iterator[Callable[..., Harness]]:
    made: list[Harness] = []

    def make(**options: bool) -> Harness:
        made.append(Harness(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("pid", ["bystander", -1, 0, 1])
def test_a_worker_cannot_name_a_process_to_be_signalled(
    harness: Callable[..., Harness], bystander: subprocess.Popen[bytes], pid: int | str
) -> None:
    one = harness()
    own = one.worker.pid
    one.say(op="forked", pid=bystander.pid if pid == "bystander" else pid)
    assert "`forked`" in one.is_killed()
    assert not is_child(own)
    assert bystander.poll() is None


def test_a_worker_that_was_not_forked_yet_says_nothing_else(harness: Callable[..., Harness]) -> None:
    one = harness(forked=True)
    one.say(op="ready", pid=os.getpid(), app="shop")
    assert "before `forked`" in one.is_killed()
    assert one.events.said == [("ended", one.worker.kill_reason)]


def test_forked_is_not_believed_of_a_process_that_is_no_child(harness: Callable[..., Harness]) -> None:
    one = harness(forked=True)
    one.say(op="forked")  # by this process, which is not its own child
    assert "not the child" in one.is_killed()


def test_forked_is_not_believed_of_a_child_that_is_known(harness: Callable[..., Harness]) -> None:
    one = harness(forked=True)
    program = f'import socket; socket.socket(fileno={one.theirs.fileno()}).send(b\'{{"op": "forked"}}\')'
    gateway = one.reaper.spawn("gateway 1", [sys.executable, "-c", program], lambda _status: None,
                               pass_fds=[one.theirs.fileno()])  # fmt: skip
    assert "not the child" in one.is_killed()
    assert one.worker.child is None
    one.until(lambda: gateway.ended)


@pytest.fixture
def subreaper() -> Iterator[None]:
    """Orphans become children of this process, as they do of the supervisor."""
    set_child_subreaper = 36
    ctypes.CDLL(None).prctl(set_child_subreaper, 1)
    yield
    ctypes.CDLL(None).prctl(set_child_subreaper, 0)


@pytest.mark.usefixtures("subreaper")
def test_forked_is_believed_of_an_orphan_once(harness: Callable[..., Harness]) -> None:
    one = harness(forked=True)
    program = f"""
import os, socket, time
own = socket.socket(fileno={one.theirs.fileno()})
middle = os.getpid()
if os.fork():
    os._exit(0)
while os.getppid() == middle:
    time.sleep(0.001)
own.send(b'{{"op": "forked", "pid": 1}}')
own.send(b'{{"op": "ready", "pid": 1, "app": "shop"}}')
own.send(b'{{"op": "forked"}}')
time.sleep(60)
"""
    one.reaper.spawn("middle", [sys.executable, "-c", program], lambda _status: None, pass_fds=[one.theirs.fileno()])
    one.until(lambda: ("ready", one.worker.ready) in one.events.said)
    assert one.worker.pid > 1
    assert is_child(one.worker.pid)
    assert "not to say" in one.is_killed()  # the second time


def test_only_children_are_signalled(bystander: subprocess.Popen[bytes]) -> None:
    with subprocess.Popen([sys.executable, "-c", f"""
import subprocess, sys
other = subprocess.Popen({SLEEPER!r})
print(other.pid, flush=True)
sys.stdin.read()
other.kill()
"""], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:  # fmt: skip
        assert parent.stdout is not None
        grandchild = int(parent.stdout.readline())
        for pid in (-1, 0, 1, os.getpid(), grandchild):
            assert not is_child(pid)
            Child(pid, "stranger", lambda _status: None).kill()
        os.kill(grandchild, 0)
        assert is_child(bystander.pid)
        parent.communicate()


@pytest.mark.parametrize(
    "message",
    [
        {"op": "ready", "pid": "1", "app": "shop"},
        {"op": "ready", "pid": 1, "app": "shop", "static": [{"url_path": "static", "folder": "/srv"}]},
        {"op": "ready", "pid": 1, "app": "shop", "static": [{"url_path": "/s", "folder": "srv"}]},
        {"op": "ready", "pid": 1, "app": "shop", "static": [{**FOLDER, "cache_control": "a\r\nX: b"}]},
        {"op": "ready", "pid": 1, "app": "shop", "static": [FOLDER] * 1001},
        {"op": "ready", "pid": 1, "app": "shop", "folders": ["../.."]},
        {"op": "ready", "pid": 1, "app": "shop", "max_content_length": -1},
        {"op": "ready", "pid": 1, "app": "shop", "max_content_length": 1 << 64},
        {"op": "recycle", "why": "x" * 5000},
        {"op": "recycle"},
        {"op": "attach", "gateway": 1, "slots": 1, "io_threads": 1},
        {"no": "op"},
        [],
    ],
)  # fmt: skip
def test_a_message_that_is_none_costs_the_worker(harness: Callable[..., Harness], message: Any) -> None:
    one = harness()
    one.theirs.send(json.dumps(message).encode())
    assert "broke the control protocol" in one.is_killed()
    assert one.worker.ready is None


@pytest.mark.parametrize("packet", [b"{", b"\xff", b"[" * 200000, b'{"op": "pong"' + b" " * 200000])
def test_a_packet_that_is_no_message_costs_the_worker(harness: Callable[..., Harness], packet: bytes) -> None:
    one = harness()
    one.theirs.send(packet)
    assert "broke the control protocol" in one.is_killed()


def test_descriptors_of_a_worker_are_not_taken(harness: Callable[..., Harness]) -> None:
    one = harness()
    read_end, write_end = os.pipe()
    before = len(list(Path("/proc/self/fd").iterdir()))
    socket.send_fds(one.theirs, [b'{"op": "recycle", "why": "age"}'], [write_end] * 100)
    one.until(lambda: one.events.said)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    os.close(write_end)
    assert os.read(read_end, 1) == b""
    os.close(read_end)


def test_a_flood_of_messages_costs_the_worker_and_leaves_the_others_their_turn(
    harness: Callable[..., Harness],
) -> None:
    one = harness()
    turns: list[int] = []
    one.loop.call_later(0, lambda: turns.append(1))

    def flood() -> None:
        for _ in range(100):
            try:
                one.say(op="pong")
            except OSError:
                break
        one.loop.call_later(0, flood)

    flood()
    one.loop.turn(0)
    assert turns
    assert "more than 1000 control messages" in one.is_killed()


def test_ready_failed_and_recycle_count_once(harness: Callable[..., Harness]) -> None:
    one = harness()
    one.say(op="ready", pid=1, app="first")
    one.say(op="ready", pid=1, app="second")
    one.say(op="failed", error="late")
    for _ in range(3):
        one.say(op="recycle", why="age\n2026 ERROR forged\x1b[2J")
    one.until(lambda: len(one.events.said) == 2)
    one.loop.turn(0)
    assert [what for what, _ in one.events.said] == ["ready", "recycles"]
    assert one.worker.ready is not None
    assert one.worker.ready.app == "first"
    assert one.events.said[1][1] == r"age\n2026 ERROR forged\x1b[2J"


def test_a_worker_that_closes_its_control_socket_is_replaced(harness: Callable[..., Harness]) -> None:
    one = harness()
    one.theirs.shutdown(socket.SHUT_RDWR)
    assert "closed its control socket" in one.is_killed()


def test_words_for_the_log_have_no_control_characters() -> None:
    assert printable("a\nb\x1b[1m\x00ü€") == r"a\nb\x1b[1m\x00ü€"
    assert printable("a\n\tb\r", lines=True) == "a\n\tb\\r"
    assert Stuck(worker=1, pool="app", slot=0, request="GET /\nX").request == r"GET /\nX"
    assert Refused(id=1, error="no\x07").error == r"no\x07"


def test_what_a_gateway_says_wrongly_is_dropped() -> None:
    loop = Loop()
    ours, theirs = channel.pair()
    heard: list[Any] = []
    Channel(loop, ours, FromGateway, heard.append, lambda: None)
    for message in ({"op": "retired", "worker": -1}, {"op": "stuck", "worker": "1"}, {"op": "forked", "pid": 1}):
        theirs.send(json.dumps(message).encode())
    theirs.send(b'{"op": "retired", "worker": 3}')
    while not heard:
        loop.turn(1)
    assert [type(message).__name__ for message in heard] == ["Retired"]
    assert FromWorker != FromGateway
    theirs.close()
    loop.close()
    ours.close()


def test_folders_that_the_worker_may_not_read_are_not_served(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    said = [str(tmp_path / "own"), str(tmp_path / "secret"), str(tmp_path / "link"), "/", "/proc/1", "/dev"]
    ready = WorkerReady(
        pid=1, app="shop", folders=said, static=[StaticFolder(url_path="/s", folder=folder) for folder in said]
    )
    clean = trusted(ready, lambda folder: not folder.endswith("secret"))
    assert clean.folders == [str(tmp_path / "own")]
    assert [folder.folder for folder in clean.static] == [str(tmp_path / "own")]
