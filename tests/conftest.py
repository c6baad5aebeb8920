"""Fixtures of all tests, and the rule for real peers."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

import slot_driver
from app_driver import AppGateway
from helpers.gateway import BUCHNER, Gateway
from helpers.nginx import Pair, Server
from helpers.upstream import Script, Upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def need_peer(name: str) -> str:
    """Return the path of a program to test against; without it skip, or fail where CI=true."""
    if found := shutil.which(name):
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed: scripts/install-peers.sh should have done it")
    pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="session")
def require_peer() -> Callable[[str], str]:
    """`require_peer("nginx")`: the path of a real peer, or the test is skipped (a failure with CI=true)."""
    return need_peer


@pytest.fixture
def run_gateway(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Start gateways: `run_gateway(toml, NAME="value")`.

    The first `[[server]]` gets a free port. Whatever was started is stopped at the end of the test.
    """
    running: list[Gateway] = []

    def start(toml: str, **environment: str) -> Gateway:
        directory = tmp_path / f"gateway{len(running)}"
        directory.mkdir()
        gateway = Gateway(directory, toml, environment)
        running.append(gateway)
        return gateway

    yield start
    for gateway in running:
        gateway.stop()


@pytest.fixture
def serve_slots() -> Iterator[Callable[..., slot_driver.Gateway]]:
    """Serve an app by a worker whose gateway the test plays: `serve_slots(app, 2)` has two slots."""
    running: list[slot_driver.Gateway] = []

    def start(app: Callable[..., Any], *args: Any, **options: Any) -> slot_driver.Gateway:
        running.append(slot_driver.Gateway(app, *args, **options))
        return running[-1]

    yield start
    for gateway in running:
        gateway.close()


@pytest.fixture
def serve_app() -> Iterator[Callable[..., AppGateway]]:
    """Serve an app by slots of this process through a gateway process: `serve_app(app, max_body=5)`."""
    running: list[AppGateway] = []

    def start(*args: Any, **options: Any) -> AppGateway:
        running.append(AppGateway(*args, **options))
        return running[-1]

    yield start
    for gateway in running:
        gateway.__exit__()


@pytest.fixture
def run_upstream() -> Iterator[Callable[..., Upstream]]:
    """Start upstreams that answer by a script: `run_upstream(answer(b"hello"))`, on another `host` where given."""
    running: list[Upstream] = []

    def start(script: Script, host: str = "127.0.0.1") -> Upstream:
        running.append(Upstream(script, host))
        return running[-1]

    yield start
    for upstream in running:
        upstream.close()


@pytest.fixture
def run_pair(tmp_path: Path) -> Iterator[Callable[[str], Pair]]:
    """Start nginx and Buchner on the same file: `run_pair("server { listen 127.0.0.1:PORT; … }")`.

    `DIR` in the text is the test's `tmp_path`. Skipped without nginx (a failure with CI=true).
    """
    running: list[Pair] = []

    def start(http: str) -> Pair:
        running.append(Pair(tmp_path, need_peer("nginx"), http))
        return running[-1]

    yield start
    for pair in running:
        pair.stop()


@pytest.fixture
def run_conf(tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    """Start Buchner alone on what stands in `http { }`, as in `run_pair`: for what the nginx at hand does not know."""
    running: list[Server] = []

    def start(http: str) -> Server:
        running.append(Server(tmp_path / "buchner", http.replace("DIR", str(tmp_path)), [*BUCHNER, "run"]))
        return running[-1]

    yield start
    for server in running:
        server.stop()
