"""Pebble for the tests of this folder: one with authorizations used once and nonces refused now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buchner.certificates.storage import Storage
from helpers.pebble import FaultyProxy, Pebble, Responders, Trust

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return Trust(tmp_path_factory.mktemp("trust"))


@pytest.fixture(scope="session")
def run_pebble(
    trust: Trust, require_peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Pebble]]:
    """Start Pebbles: `run_pebble(bindings=True)`."""
    running: list[Pebble] = []

    def start(*, dns: str = "", bindings: bool = False, **environment: str) -> Pebble:
        programs = require_peer("pebble"), require_peer("pebble-challtestsrv")
        directory = tmp_path_factory.mktemp("pebble")
        running.append(Pebble(programs, directory, trust, dns=dns, bindings=bindings, **environment))
        return running[-1]

    yield start
    for pebble in running:
        pebble.stop()


@pytest.fixture(scope="session")
def pebble(run_pebble: Callable[..., Pebble]) -> Pebble:
    return run_pebble()


@pytest.fixture(scope="session")
def responders(pebble: Pebble, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Responders]:
    found = Responders.of(pebble, tmp_path_factory.mktemp("alpn"))
    yield found
    found.close()


@pytest.fixture
def proxy(pebble: Pebble) -> Iterator[FaultyProxy]:
    found = FaultyProxy(pebble)
    yield found
    found.close()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "certificates")
