"""Under steady load, reloads, kill -9 of workers and of the gateway, recyclings and upgrades lose no request.

Each runs short in CI and, marked `chaos`, at full length.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from helpers.instance import Instance, kill
from helpers.load import APP, Failure, Load
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("flask")

Serve = Callable[..., Instance]


def times(short: int, full: int) -> pytest.MarkDecorator:
    """How often: `short` in CI, `full` in `make chaos`."""
    long = pytest.param(full, id="full", marks=[pytest.mark.chaos, pytest.mark.timeout(1800)])
    return pytest.mark.parametrize("times", [pytest.param(short, id="short"), long])


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Instance]]:
    """Serve the load's app with two workers and these flags."""
    running: list[Instance] = []
    (tmp_path / "shop.py").write_text(APP)

    def start(*flags: str, workers: int = 2) -> Instance:
        words = ["serve", "shop:app", "--bind", "127.0.0.1:0", "--workers", str(workers), "--access-log", "off"]
        running.append(Instance(tmp_path, *words, *flags))
        return running[-1]

    yield start
    for instance in running:
        assert instance.end() == 0, instance.log[-5000:]


def none_failed(load: Load, instance: Instance) -> None:
    assert load.answered > 100
    assert load.failures == [], f"{len(load.failures)} of {load.answered} failed\n{instance.log[-5000:]}"


def two_ready(instance: Instance) -> list[int]:
    """The pids of the two workers, once both serve."""
    return wait_for(lambda: pids if len(pids := instance.ready_workers()) == 2 else None, "two workers that serve", 60)


@times(4, 100)
def test_reloads_lose_nothing(serve: Serve, times: int) -> None:
    instance = serve()
    with Load(instance.port) as load:
        for count in range(1, times + 1):
            instance.signal(signal.SIGHUP)
            instance.says("reloaded: ", 60, count)
            load.progress(2)
        for _ in range(20):  # faster than they can be carried out
            instance.signal(signal.SIGHUP)
            time.sleep(0.01)
        wait_for(lambda: instance.status()["activity"] == "", "the last reload", 60)
        load.progress()
    none_failed(load, instance)
    assert len(two_ready(instance)) == 2


@times(6, 50)
def test_killed_workers_lose_nothing(serve: Serve, times: int) -> None:
    instance = serve()
    with Load(instance.port) as load:
        killed = 0
        while killed < times:
            for pid in two_ready(instance)[: 1 + killed // 2 % 2]:  # now one, now both
                kill(pid)
                killed += 1
            load.progress(3)
    none_failed(load, instance)
    assert instance.log.count("was killed (SIGKILL)") == killed


def in_flight(failure: Failure, kills: list[tuple[float, float]]) -> bool:
    """The request had begun before the gateway was dead, and had not been answered when it was killed."""
    return any(failure.began <= dead and killed <= failure.ended for killed, dead in kills)


@times(3, 10)
def test_a_killed_gateway_loses_only_what_was_in_flight(serve: Serve, times: int) -> None:
    instance = serve()
    workers = instance.ready_workers()
    kills: list[tuple[float, float]] = []
    with Load(instance.port) as load:
        for _ in range(times):
            load.progress()
            (gateway,) = instance.gateways()
            killed = time.monotonic()
            kill(gateway)
            kills.append((killed, time.monotonic()))
            instance.replaces([gateway])
        load.progress()
    lost = [failure for failure in load.failures if not in_flight(failure, kills)]
    assert lost == [], f"{len(lost)} of {load.answered}, kills at {kills}\n{instance.log[-5000:]}"
    assert len(load.failures) <= times * load.clients, "a client has one request in flight"
    assert max(dead - killed for killed, dead in kills) < 1, "a longer one would hide what was not in flight"
    assert instance.ready_workers() == workers


@times(2, 20)
def test_recyclings_lose_nothing(serve: Serve, times: int) -> None:
    instance = serve("--max-requests", "60")
    with Load(instance.port) as load:
        instance.says("is replaced: ", 900, 2 * times)
        load.progress()
    none_failed(load, instance)


@times(1, 5)
def test_workers_of_full_age_and_workers_told_to_go_lose_nothing(serve: Serve, times: int) -> None:
    instance = serve("--max-age", "1")
    with Load(instance.port) as load:
        instance.says("it reached max_age", 300, 2 * times)
        for pid in two_ready(instance):
            os.kill(pid, signal.SIGTERM)
        instance.says("SIGTERM was sent to the worker")
        load.progress()
    none_failed(load, instance)


@times(1, 5)
def test_upgrades_lose_nothing(serve: Serve, times: int) -> None:
    instance = serve()
    with Load(instance.port) as load:
        for _ in range(times):
            before = {*instance.gateways(), *instance.workers()}
            result = instance.command("upgrade")
            assert result.returncode == 0, result.stderr + instance.log[-5000:]
            instance.replaces(before)
            load.progress(5)
    none_failed(load, instance)
    assert instance.process.poll() is None, "the pid stays"


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(6, id="short"),
        pytest.param(180, id="full", marks=[pytest.mark.chaos, pytest.mark.timeout(900)]),
    ],
)
def test_everything_at_once_loses_only_what_a_killed_gateway_had(serve: Serve, seconds: int) -> None:
    """Faults that meet: a gateway that dies in a reload, workers that die in an upgrade, and so on."""
    instance = serve()
    chance = random.Random(seconds)
    kills: list[tuple[float, float]] = []

    def kill_gateway() -> None:
        killed = time.monotonic()
        kill(chance.choice(instance.gateways()))
        kills.append((killed, time.monotonic()))

    def kill_worker() -> None:
        kill(chance.choice(instance.workers()))

    def kill_all_workers() -> None:
        for pid in instance.workers():
            kill(pid)

    def recycle() -> None:
        for pid in instance.workers():
            os.kill(pid, signal.SIGTERM)

    faults: list[Callable[[], None]] = [
        kill_gateway,
        kill_worker,
        kill_all_workers,
        recycle,
        lambda: instance.signal(signal.SIGHUP),
        lambda: instance.signal(signal.SIGUSR2),  # upgrade
    ]
    with Load(instance.port) as load:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(OSError, IndexError):  # it has ended by itself, there is none
                chance.choice(faults)()
            time.sleep(chance.uniform(0, 0.6))
        wait_for(lambda: instance.status()["activity"] == "", "nothing is under way any more", 60)
        load.progress()
    lost = [failure for failure in load.failures if not in_flight(failure, kills)]
    assert lost == [], f"{len(lost)} of {load.answered}, kills at {kills}\n{instance.log[-9000:]}"
    assert len(two_ready(instance)) == 2
    wait_for(lambda: len(instance.gateways()) == 1 and len(instance.workers()) == 2, "the others ended", 60)
    assert "internal error" not in instance.log
    assert "Traceback" not in instance.log
