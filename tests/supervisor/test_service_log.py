"""What a service says while it runs and at its end, and what a refused reload leaves behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.instance import Instance, kill
from helpers.raw import Raw
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("flask")

Run = Callable[..., Instance]

SHOP = """
import time
from flask import Flask
app = Flask(__name__)

@app.get("/")
def hello():
    return "hello"

@app.get("/print")
def printed():
    print("printed by the app")
    return "printed"

@app.get("/raise")
def raised():
    raise ValueError("broken on purpose")

@app.get("/stream")
def stream():
    def pieces():
        while True:
            yield b"piece"
            time.sleep(0.1)
    return pieces()
"""
TOML = """
[gateway]
{user}
{gateway}

[app]
target = "shop:app"
workers = 1
threads = 4

[[server]]
listen = ["127.0.0.1:0"]
access_log = "-"

[[server.route]]
path = "/"
app = true
"""


def write(directory: Path, gateway: str) -> None:
    user = 'user = "root"' if os.geteuid() == 0 else ""
    (directory / "gateway.toml").write_text(TOML.format(user=user, gateway=gateway))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run the app above with these settings of the gateway."""
    running: list[Instance] = []
    (tmp_path / "shop.py").write_text(SHOP)

    def start(gateway: str = "") -> Instance:
        write(tmp_path, gateway)
        running.append(Instance(tmp_path, "run", "gateway.toml"))
        return running[-1]

    yield start
    for instance in running:
        assert instance.end() == 0, instance.log[-5000:]


def open_files(instance: Instance) -> str:
    """The limit of the gateway process, once there is one."""
    (pid,) = wait_for(instance.gateways, "a gateway")
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line for line in limits if line.startswith("Max open files"))


def identity(instance: Instance) -> str:
    """The user ids of the gateway process, once it has taken its user on."""
    (pid,) = wait_for(instance.gateways, "a gateway")
    return next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:"))


def restarted(instance: Instance) -> None:
    """Kill the gateway, and wait until the one in its place serves."""
    before = instance.gateways()
    kill(before[0])
    wait_for(lambda: instance.gateways() and not {*before} & {*instance.gateways()}, "another gateway", 30)
    wait_for(lambda: instance.get().status == 200, "a response", 30)


def test_the_settings_of_a_refused_reload_do_not_hold_at_the_next_start_of_the_gateway(run: Run) -> None:
    instance = run("open_files = 300")
    before = open_files(instance)
    write(instance.directory, "open_files = 400")
    (instance.directory / "shop.py").write_text("raise ValueError('broken on purpose')\n")
    assert instance.command("reload").returncode != 0
    (instance.directory / "shop.py").write_text(SHOP)
    restarted(instance)
    assert open_files(instance) == before
    assert instance.command("reload").returncode == 0
    restarted(instance)
    assert open_files(instance) != before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start a gateway as another user")
def test_the_user_of_a_refused_reload_is_not_that_of_the_next_gateway(run: Run) -> None:
    instance = run()
    file, before = instance.directory / "gateway.toml", identity(instance)
    assert before.split()[1:] == ["0"] * 4
    as_root = file.read_text()
    as_nobody = as_root.replace('user = "root"', 'user = "nobody"')
    assert as_nobody != as_root
    file.write_text(as_nobody)
    (instance.directory / "shop.py").write_text("raise ValueError('broken on purpose')\n")
    assert instance.command("reload").returncode != 0
    assert identity(instance) == before
    restarted(instance)
    assert identity(instance) == before
    file.write_text(as_nobody.replace("nobody", "no-such-user"))
    assert "no-such-user" in instance.command("reload").stderr
    restarted(instance)
    assert identity(instance) == before


def test_what_an_app_prints_is_there_at_once(run: Run) -> None:
    instance = run()
    assert instance.get("/print").body == b"printed"
    instance.says("printed by the app\n", 5)


@pytest.mark.parametrize("development", ["true", "false"])
def test_an_exception_has_one_traceback_in_the_log(run: Run, development: str) -> None:
    instance = run(f"development = {development}")
    assert instance.get("/raise").status == 500
    instance.says("ValueError: broken on purpose\n")
    assert instance.get().status == 200
    instance.says('"GET / HTTP/1.1" 200')
    assert instance.log.count("Traceback (most recent call last)") == 1


def test_a_stop_says_how_many_responses_were_cut(run: Run) -> None:
    instance = run('shutdown_timeout = "1s"')
    clients = [Raw(instance.port) for _ in range(3)]
    for raw in clients:
        raw.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        raw._until(b"piece")
    instance.signal(signal.SIGTERM)
    instance.says("3 connections were cut", 30)
    for raw in clients:
        raw.socket.close()
