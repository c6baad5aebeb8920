"""The pytest fixture `buchner_gateway`: the real gateway on a free port, found through the `pytest11` entry point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from buchner.api import RunningGateway


@pytest.fixture
def buchner_gateway() -> Iterator[Callable[..., RunningGateway]]:
    """Start gateways: `server = buchner_gateway(app, workers=1)`, then talk to `server.url`.

    The arguments are those of `buchner.Gateway`. One worker is started unless `workers` says otherwise. Everything
    that was started is stopped at the end of the test.
    """
    from buchner.api import Gateway

    running: list[RunningGateway] = []

    def start(app: Any, **settings: Any) -> RunningGateway:
        settings.setdefault("workers", 1)
        server = Gateway(app, **settings).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()
