"""Stopping: the gateway drains first, while the workers still answer; then the workers end; then everything has."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Protocol

from buchner.errors import BuchnerError
from buchner.supervisor.worker_process import WorkerState

if TYPE_CHECKING:
    from buchner.config.model import Loaded
    from buchner.supervisor.deployments import Deployments
    from buchner.supervisor.gateways import Gateways
    from buchner.supervisor.loop import Loop
    from buchner.supervisor.notify import Notifier
    from buchner.supervisor.process import Reaper
    from buchner.supervisor.workers import Workers

logger = logging.getLogger("buchner")

_SLACK = 3.0
"""Seconds beyond the deadline until what is left is killed."""
_DEFAULT_SECONDS = 30.0
_SAME_REQUEST = 0.5
"""Seconds within which a second signal means the same: timeout(1) sends one to the process and one to its group."""


def duration(seconds: float) -> str:
    """A time as people say it: `30 s`, `1.5 min`, `2 h`, `30 days`."""
    for size, unit in ((86400, "day"), (3600, "h"), (60, "min")):
        if seconds >= size:
            number = f"{seconds / size:.1f}".removesuffix(".0")
            return f"{number} {unit}{'s' if unit == 'day' and number != '1' else ''}"
    return f"{seconds:g} s"


class ShutdownHost(Protocol):
    """The supervisor, as its end needs it."""

    loop: Loop
    reaper: Reaper
    notifier: Notifier
    gateways: Gateways
    workers: Workers
    deployments: Deployments
    loaded: Loaded | None

    def close_listeners(self) -> None:
        """Close the listening sockets."""


class Shutdown:
    """The one way down; `step` is called whenever a process has ended."""

    def __init__(self, supervisor: ShutdownHost, seconds: float | None = None) -> None:
        self._supervisor = supervisor
        loaded = supervisor.loaded
        default = loaded.process.shutdown_timeout if loaded else _DEFAULT_SECONDS
        self._seconds = default if seconds is None else seconds
        self._deadline = time.monotonic() + self._seconds
        self._hurried = False
        self._begun = time.monotonic()
        self._workers_told = False

    @property
    def is_graceful(self) -> bool:
        """Whether requests have time to finish."""
        return self._seconds > 0 and not self._hurried

    def start(self) -> None:
        """Begin."""
        supervisor = self._supervisor
        supervisor.notifier.stopping()
        if supervisor.deployments.current is not None:
            supervisor.deployments.current.fail(BuchnerError("Buchner was stopped"))
        serving = [gateway for gateway in supervisor.gateways.all.values() if gateway.serving_since is not None]
        if serving:
            logger.info("stopping: requests have %s to finish", duration(self._seconds))
        supervisor.close_listeners()  # who comes now is refused at once, not left in a queue that nobody reads
        for gateway in list(supervisor.gateways.all.values()):
            gateway.drain(self._seconds)
            if gateway not in serving:
                gateway.channel.close()
        supervisor.loop.call_later(self._seconds + _SLACK, self._too_late)
        self.step()

    def hurry(self) -> None:
        """Asked again: kill everything, unless it is the same request twice."""
        if not self._hurried and time.monotonic() - self._begun >= _SAME_REQUEST:
            self._hurried = True
            logger.warning("stopping at once: running requests are broken off")
            self._kill_all()
            self.step()

    def _too_late(self) -> None:
        if self._supervisor.reaper.children():
            names = ", ".join(child.name for child in self._supervisor.reaper.children())
            logger.error("not ended in time, killed: %s", names)
            self._kill_all()

    def _kill_all(self) -> None:
        for worker in self._supervisor.workers.all():
            worker.kill_reason = worker.kill_reason or "Buchner was told to stop at once"
        for child in self._supervisor.reaper.children():
            child.kill()

    def step(self) -> None:
        """Do what has become possible."""
        supervisor = self._supervisor
        if not supervisor.gateways.all and not self._workers_told:
            self._workers_told = True
            for pool in [*supervisor.workers.pools.values(), *supervisor.workers.leaving]:
                pool.close()
            left = max(0.5, self._deadline - time.monotonic())
            for worker in supervisor.workers.all():
                if worker.state is WorkerState.STARTING:
                    worker.kill("Buchner is stopping")
                if worker.hung is not None:
                    worker.kill(worker.hung)  # nobody waits for that answer any more
                worker.stop(left)
        if self._workers_told and not supervisor.workers.all():
            supervisor.loop.stop()
