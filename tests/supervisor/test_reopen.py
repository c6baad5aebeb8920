"""SIGUSR1 and `buchner reopen`: after a rotation every process writes to the new files."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from helpers.instance import Instance
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

APP = """
import sys
def app(environ, start_response):
    print("the app says", environ["PATH_INFO"], file=sys.stderr, flush=True)
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]
"""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Instance]]:
    running: list[Instance] = []
    (tmp_path / "shop.py").write_text(APP)

    def start(*flags: str) -> Instance:
        words = ["serve", "shop:app", "--bind", "127.0.0.1:0", "--workers", "1", "--error-log", "error.log"]
        user = ["--user", "root"] if os.geteuid() == 0 else []  # the test's directory is root's alone
        running.append(Instance(tmp_path, *words, *user, "--access-log", "access.log", *flags, said_in="error.log"))
        return running[-1]

    yield start
    for instance in running:
        assert instance.end() == 0


def all_write(instance: Instance, path: str) -> None:
    """Have the app and the gateway write to the error log, and the gateway to the access log."""
    assert instance.get(path).status == 200
    assert instance.get(path, "GET", "Bad Name: x").status == 400


def has_all(instance: Instance, path: str) -> bool:
    error, access = instance.directory / "error.log", instance.directory / "access.log"
    if not error.exists() or not access.exists():
        return False
    words = [f"the app says {path}", "client: "]
    return all(word in error.read_text() for word in words) and f"GET {path} " in access.read_text()


@pytest.mark.parametrize("flags", [[], ["--preload"]], ids=["exec", "preload"])
@pytest.mark.parametrize("by", ["signal", "command"])
def test_all_processes_write_to_the_new_files(serve: Callable[..., Instance], flags: list[str], by: str) -> None:
    instance = serve(*flags)
    all_write(instance, "/before")
    wait_for(lambda: has_all(instance, "/before"), "all that is written before")
    for name in ("error", "access"):
        (instance.directory / f"{name}.log").rename(instance.directory / f"{name}.1")
    if by == "signal":
        instance.signal(signal.SIGUSR1)
        wait_for((instance.directory / "error.log").exists, "the new file")
    else:
        assert instance.command("reopen").returncode == 0
    for number in range(1000):  # a process hears of it a little later
        all_write(instance, f"/soon/{number}")
        if instance.log.count("the app says") and instance.log.count("client: "):
            break
    all_write(instance, "/after")
    wait_for(lambda: has_all(instance, "/after"), "all that is written after")
    os.kill(instance.ready_workers()[0], signal.SIGKILL)
    instance.says("was killed (SIGKILL)")  # the supervisor's line
    assert instance.get("/replacement").status == 200
    wait_for(lambda: "the app says /replacement" in instance.log, "a worker that came later")
    old = (instance.directory / "error.1").read_text() + (instance.directory / "access.1").read_text()
    assert "/after" not in old
    assert "/replacement" not in old


def test_a_log_that_cannot_be_opened_is_said_and_the_open_one_stays(serve: Callable[..., Instance]) -> None:
    instance = serve()
    moved = instance.directory / "error.log"
    moved.rename(instance.directory / "error.1")
    moved.mkdir()
    result = instance.command("reopen")
    moved.rmdir()
    (instance.directory / "error.1").rename(moved)
    assert result.returncode == 1
    assert "error.log cannot be opened: Is a directory" in result.stderr
    all_write(instance, "/still")
    wait_for(lambda: has_all(instance, "/still"), "all goes on")
