"""Ten thousand servers and ten thousand routes: what the whole process tree holds, and that all of them are found."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.gateway import Gateway
from helpers.instance import private_memory
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = 10_000
MOST = 64 << 20
"""Bytes of anonymous memory of supervisor and gateway together; about 40 MB are used."""

GROWTH = 3 << 20
"""Bytes; one object that a reload leaves keeps a mebibyte (an arena of CPython's)."""


def document() -> str:
    answer = f'respond = {{ status = 200, body = "{"x" * 65}" }}'
    routes = "".join(f'[[server.route]]\npath = "/section{n}/"\n{answer}\n' for n in range(MANY))
    names = "".join(
        '[[server]]\nlisten = ["127.0.0.1:{port}"]\n'
        f'names = ["site{n}.example"]\n[[server.route]]\npath = "/"\n'
        f"respond = {{ status = {200 + n % 2} }}\n"
        for n in range(MANY)
    )
    return f"[[server]]\n{routes}{names}"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("many"), document(), {"PYTHONWARNINGS": "error"})
    # It answers a moment before the start is over, and a death until then is a start that failed.
    wait_for(lambda: " serving " in gateway.log, "the end of the start", 60)
    yield gateway
    gateway.stop()


def tree(gateway: Gateway) -> list[int]:
    pid = gateway.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def has_reloaded(gateway: Gateway, times: int) -> bool:
    return gateway.log.count(" reloaded:") >= times


def memory(gateway: Gateway) -> int:
    return sum(private_memory(pid) for pid in tree(gateway))


def test_each_is_found(many: Gateway) -> None:
    wait_for(lambda: many.get("/section0/").status == 200, "the first answer")
    assert many.get(f"/section{MANY - 1}/x").status == 200
    assert many.get("/section/").status == 404
    for number in (0, 7, MANY - 1):
        reply = many.ask(f"GET / HTTP/1.1\r\nHost: site{number}.example\r\nConnection: close\r\n\r\n")
        assert reply.status == 200 + number % 2


def test_they_take_little_memory_also_after_reloads(many: Gateway) -> None:
    wait_for(lambda: memory(many) < MOST, f"memory below {MOST} bytes after the start")
    assert len(tree(many)) == 2
    for number in range(1, 4):
        os.kill(many.process.pid, signal.SIGHUP)
        wait_for(partial(has_reloaded, many, number), "a reload", 60)
    wait_for(lambda: memory(many) < MOST, f"memory below {MOST} bytes after reloads; it is {memory(many)}")
    assert many.get("/section5/").status == 200


def test_reloads_leave_nothing_in_the_supervisor(many: Gateway) -> None:
    before = 0
    reloads = many.log.count(" reloaded:")
    for number in range(1, 9):
        os.kill(many.process.pid, signal.SIGHUP)
        wait_for(partial(has_reloaded, many, reloads + number), "a reload", 60)
        if number == 2:
            before = private_memory(many.process.pid)
    wait_for(lambda: private_memory(many.process.pid) < before + GROWTH, f"{GROWTH} more bytes at most after 6 reloads")


def test_the_memory_of_a_gateway_that_is_started_again_is_the_same(many: Gateway) -> None:
    wait_for(lambda: many.get("/section0/").status == 200, "the first answer")
    (gateway,) = tree(many)[1:]
    os.kill(gateway, signal.SIGKILL)
    wait_for(lambda: (pids := tree(many)[1:]) and pids != [gateway], "another gateway", 60)
    wait_for(lambda: many.get("/section9/").status == 200, "an answer")
    wait_for(lambda: memory(many) < MOST, f"memory below {MOST} bytes after a restart")
