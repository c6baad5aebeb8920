"""Apps that gevent or eventlet have patched: served by native threads, one a worker unless a setting says more."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from helpers.instance import Instance
from helpers.load import APP
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("flask")

Serve = Callable[..., Instance]

PATCHES = {
    "gevent": "from gevent import monkey\nmonkey.patch_all()\n",
    "eventlet": "import eventlet\neventlet.monkey_patch()\n",
}

SHOP = (
    APP
    + '''
import queue, threading
LOCK = threading.Lock()
POOL = queue.Queue()
for number in range(2):
    POOL.put(f"connection {number}")
COUNT = 0
TICKS = 0

def tick():
    global TICKS
    while True:
        time.sleep(0.05)
        TICKS += 1

threading.Thread(target=tick, daemon=True).start()

@app.get("/use")
def use():
    """A connection of a pool that all threads share, and a lock."""
    global COUNT
    connection = POOL.get(timeout=10)
    try:
        with LOCK:
            before = COUNT
            time.sleep(0.001)
            COUNT = before + 1
        return connection
    finally:
        POOL.put(connection)

@app.get("/count")
def count():
    return str(COUNT)

@app.get("/ticks")
def ticks():
    return str(TICKS)

@app.get("/wait")
def wait():
    time.sleep(0.3)
    return "waited"
'''
)


@pytest.fixture(params=[*PATCHES])
def patched(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serve]:
    """Serve the app above, patched, with one worker and these flags."""
    if find_spec(request.param) is None:  # imported here, eventlet would object to every fork of the tests
        pytest.skip(f"no {request.param}")
    running: list[Instance] = []
    (tmp_path / "shop.py").write_text(PATCHES[request.param] + SHOP)

    def start(*flags: str) -> Instance:
        running.append(Instance(tmp_path, "serve", "shop:app", "--bind", "127.0.0.1:0", "--workers", "1", *flags))
        assert f"the app is patched by {request.param}" in running[-1].log
        return running[-1]

    yield start
    for instance in running:
        began = time.monotonic()
        assert instance.end() == 0, instance.log[-5000:]
        assert time.monotonic() - began < 10, "a stop does not wait for a timeout"


def test_a_patched_app_is_served_one_request_a_worker(patched: Serve) -> None:
    instance = patched()
    (worker,) = instance.ready_workers()
    assert instance.status()["gateway"]["pools"]["app"]["slots"] == 1
    assert [instance.get("/n/1").status for _ in range(5)] == [200] * 5
    began = time.monotonic()
    with ThreadPoolExecutor(3) as clients:
        assert {reply.body for reply in clients.map(lambda _: instance.get("/wait"), range(3))} == {b"waited"}
    assert time.monotonic() - began > 0.85, "one after the other"
    wait_for(lambda: int(instance.get("/ticks").body) > 2, "a thread of the app's own goes on")
    assert instance.ready_workers() == [worker]


def share(instance: Instance, seconds: float) -> None:
    """Use the pool and the lock from many clients, and count."""
    until = time.monotonic() + seconds

    def client(_number: int) -> int:
        count = 0
        while time.monotonic() < until:
            reply = instance.get("/use")
            assert (reply.status, reply.body[:11]) == (200, b"connection ")
            count += 1
        return count

    with ThreadPoolExecutor(8) as clients:
        total = sum(clients.map(client, range(8)))
    assert total > 10 * seconds
    assert instance.get("/count").body == str(total).encode()


def test_a_lock_and_a_pool_of_connections_in_a_patched_app(patched: Serve) -> None:
    share(patched(), 3)


@pytest.mark.chaos
def test_a_lock_and_a_pool_of_connections_in_a_patched_app_for_long(patched: Serve) -> None:
    share(patched(), 30)


def test_more_threads_of_a_patched_app_are_to_be_had_by_setting(patched: Serve) -> None:
    instance = patched("--threads", "3")
    assert instance.status()["gateway"]["pools"]["app"]["slots"] == 3
    assert "locks that they share may block" in instance.log
    with ThreadPoolExecutor(3) as clients:
        began = time.monotonic()
        assert {reply.body for reply in clients.map(lambda _: instance.get("/wait"), range(3))} == {b"waited"}
        assert time.monotonic() - began < 0.85, "at the same time"
