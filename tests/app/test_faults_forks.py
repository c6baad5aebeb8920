"""Children that an app forks while it serves a request: they are the app's business, never workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.instance import Instance
from helpers.load import APP
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("flask")

Serve = Callable[..., Instance]

SHOP = (
    APP
    + '''
import multiprocessing, pathlib, sys, threading
HERE = pathlib.Path(__file__).parent

@app.get("/raise")
def raises():
    if os.fork() == 0:
        raise RuntimeError("the child's own")
    return "parent"

@app.get("/exit")
def exits():
    if os.fork() == 0:
        sys.exit(7)
    return str(os.waitstatus_to_exitcode(os.wait()[1]))

@app.get("/return")
def returns():
    return "child" if os.fork() == 0 else "parent"

@app.get("/stream")
def streams():
    def pieces():
        yield "a"
        who = "child" if os.fork() == 0 else "parent"
        yield who
        yield "b"
    return pieces()

@app.get("/daemon")
def daemon():
    """The usual double fork."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            (HERE / "daemon").write_text(str(os.getpid()))
            time.sleep(float(request.args["seconds"]))
            (HERE / "done").touch()
        sys.exit(0)
    os.wait()
    return "started"

def square(number):
    return number * number

@app.get("/pool")
def pool():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return str(sum(pool.map(square, range(10))))

@app.get("/terminate")
def terminate():
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    process.terminate()
    process.join(10)
    return str(process.exitcode)

@app.get("/sleeper")
def sleeper():
    """A child that goes on."""
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    return str(pid)

@app.get("/die")
def die():
    os.kill(os.getpid(), signal.SIGKILL)
'''
)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve the app above with one worker and these flags."""
    running: list[Instance] = []
    (tmp_path / "shop.py").write_text(SHOP)

    def start(*flags: str) -> Instance:
        words = ["serve", "shop:app", "--bind", "127.0.0.1:0", "--workers", "1", "--timeout", "10"]
        running.append(Instance(tmp_path, *words, *flags))
        return running[-1]

    yield start
    for instance in running:
        assert instance.end() == 0, instance.log[-5000:]


def is_unharmed(instance: Instance, worker: int) -> None:
    """The same worker responds to what follows, itself."""
    assert [instance.get("/pid").body for _ in range(10)] == [str(worker).encode()] * 10
    assert instance.ready_workers() == [worker]
    wait_for(lambda: children(worker) == [], "the children are gone")
    assert "is lost" not in instance.log


def children(pid: int) -> list[str]:
    """Its children that run: those that ended and were not waited for are the app's to bury."""
    pids: list[str] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        pids += (task / "children").read_text().split()
    return [pid for pid in pids if ") Z " not in Path(f"/proc/{pid}/stat").read_text()]


@pytest.mark.parametrize("flags", [(), ("--preload",)])
@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/raise", b"parent"),
        ("/exit", b"7"),
        ("/return", b"parent"),
        ("/stream", b"aparentb"),
        ("/pool", b"285"),
        ("/terminate", b"-15"),
    ],
)
def test_a_child_of_a_request_is_no_worker(serve: Serve, target: str, body: bytes, flags: tuple[str, ...]) -> None:
    instance = serve(*flags)
    (worker,) = instance.ready_workers()
    for _ in range(3):
        reply = instance.get(target)
        assert (reply.status, reply.body) == (200, body)
    is_unharmed(instance, worker)


def test_what_a_child_raised_is_told(serve: Serve) -> None:
    instance = serve()
    instance.get("/raise")
    instance.says("RuntimeError: the child's own")


def test_a_daemon_of_a_double_fork_does_its_work_and_ends(serve: Serve) -> None:
    instance = serve()
    (worker,) = instance.ready_workers()
    assert instance.get("/daemon?seconds=0.3").body == b"started"
    is_unharmed(instance, worker)
    wait_for((instance.directory / "done").exists, "the daemon's work")
    pid = int((instance.directory / "daemon").read_text())
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the daemon's end")


def test_children_that_go_on_hide_neither_a_worker_s_death_nor_outlive_a_terminate(serve: Serve) -> None:
    instance = serve()
    (worker,) = instance.ready_workers()
    child = int(instance.get("/sleeper").body)
    try:
        assert instance.get("/die").get("x-buchner-error") == "worker-died"
        wait_for(lambda: instance.ready_workers() not in ([], [worker]), "the replacement")
        assert instance.get("/pid").status == 200
        links = [str(entry.readlink()) for entry in Path(f"/proc/{child}/fd").iterdir()]
        assert not [link for link in links if link.startswith("socket:")], "it holds no socket of the worker's"
    finally:
        os.kill(child, signal.SIGTERM)
    wait_for(lambda: not Path(f"/proc/{child}").exists(), "SIGTERM ends it, as it would any program")
