"""The workers of one app: one `Pool` is one generation of its code.

A pool keeps as many workers as it was told to. A worker that has to go (limits reached, a request that hung) first gets
its replacement: it stays until that one is ready. A worker that died is replaced at once; where workers keep dying
young, with growing pauses.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from buchner.supervisor.child import DEFAULT_THREADS
from buchner.supervisor.process import MemoryEvents, cause
from buchner.supervisor.stacks import collect
from buchner.supervisor.worker_process import WorkerProcess, WorkerState

if TYPE_CHECKING:
    from buchner.config.model import AppSettings
    from buchner.supervisor.launch import WorkerSource
    from buchner.supervisor.loop import Loop, Timer
    from buchner.supervisor.messages import Failed

logger = logging.getLogger("buchner")

_HEALTHY = 30.0
"""Seconds after which a worker's death says nothing about the next one."""
_FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
_RECYCLE_AFTER = 0.2
"""Seconds until a worker that asks for it is replaced: a SIGTERM to all processes reaches the supervisor, too."""
LONGEST_PAUSE_SERVING = 1.0
"""Longest pause after a process that had begun to serve: a request that kills it must not close the app for long."""


class PoolHost(Protocol):
    """The supervisor, as a pool needs it."""

    @property
    def stopping(self) -> bool:
        """Whether Buchner stops: no worker is replaced then that could go on."""

    def pool_ready(self, pool: Pool) -> None:
        """Every worker of a pool that starts is ready."""

    def pool_failed(self, pool: Pool, message: str, traceback: str, *, imported: bool) -> None:
        """A worker of a pool that starts has failed; the pool is of no use."""

    def worker_serves(self, worker: WorkerProcess) -> None:
        """A worker of an active pool is ready: give it to the gateways."""

    def retire(self, worker: WorkerProcess, seconds: float) -> None:
        """Let a worker finish what it runs, then end it."""

    def worker_lost(self, worker: WorkerProcess, cause: str) -> None:
        """A worker can't serve any more, though its process runs."""

    def worker_silent(self, worker: WorkerProcess) -> None:
        """A worker's main thread has not run for `heartbeat`."""

    def worker_gone(self, worker: WorkerProcess, why: str) -> None:
        """A worker's process has ended."""


class Backoff:
    """The pauses before processes that keep dying are started again."""

    def __init__(self) -> None:
        self._deaths = 0

    def pause(self, lived: float, longest: float = LONGEST_PAUSE) -> float:
        """Seconds to wait after a process that lived so many seconds; none after the first."""
        if lived >= _HEALTHY:
            self._deaths = 0
        self._deaths += 1
        if self._deaths == 1:
            return 0.0
        return float(min(longest, _FIRST_PAUSE * 2 ** min(self._deaths - 2, 16)))

    def reset(self) -> None:
        """Something has proved healthy."""
        self._deaths = 0


class Pool:
    """One generation of an app's workers.

    Args:
        name: The pool's name in the plan.
        settings: How its workers are run.
        count: How many of them.
        make_source: Makes what starts them.
        host: The supervisor.
    """

    def __init__(
        self, name: str, settings: AppSettings, count: int, make_source: Callable[[], WorkerSource], host: PoolHost,
        loop: Loop, memory: MemoryEvents,
    ) -> None:  # fmt: skip
        self.name = name
        self.settings = settings
        self.count = count
        self.workers: dict[int, WorkerProcess] = {}
        self.active = False
        """Whether its workers serve; before that it is on trial, and any failure ends the trial."""
        self.closed = False
        self._host = host
        self._loop = loop
        self._memory = memory
        self._make_source = make_source
        self._source: WorkerSource | None = None
        self._backoff = Backoff()
        self._paused: Timer | None = None
        self._start_due: Timer | None = None

    def adopt(self, workers: list[WorkerProcess]) -> None:
        """Take over workers from before an upgrade: the pool serves at once, and the dead are replaced by new code."""
        self.active = True
        for worker in workers:
            worker.events = self
            self.workers[worker.number] = worker
            self._watch_heart(worker)
        self._loop.call_later(0, self._balance)  # one may have died just before

    def start(self) -> None:
        """Start the workers; `pool_ready` or `pool_failed` follows."""
        self._start_due = self._loop.call_later(self.settings.start_timeout, self._check_start)
        self._balance()

    def _check_start(self) -> None:
        if self.active or self.closed:
            return
        slow = next((worker for worker in self.workers.values() if worker.state is WorkerState.STARTING), None)
        if slow is None:
            return
        message = f"{slow} was still importing the app after start_timeout ({self.settings.start_timeout:g} s)"
        importer = slow.child or slow.importer

        def failed(stacks: str) -> None:
            if not self.active and not self.closed:
                shown = f"{message}. This is where it is (an `app.run()` at module level never ends):\n{stacks}"
                self._host.pool_failed(self, shown if stacks else message, "", imported=False)

        if importer is None:
            failed("")
        else:
            collect(self._loop, importer, failed)

    def _balance(self) -> None:
        """Start what is missing."""
        if self.closed or self._paused is not None:
            return
        staying = [
            worker
            for worker in self.workers.values()
            if worker.state in (WorkerState.STARTING, WorkerState.READY) and not worker.recycling
        ]
        for _ in range(self.count - len(staying)):
            try:
                if self._source is None:
                    self._source = self._make_source()
                worker = self._source.make()
            except OSError as error:
                self._could_not_start(error)
                return
            worker.events = self
            self.workers[worker.number] = worker
            if self.active:
                worker.later(self.settings.start_timeout, partial(self._check_replacement, worker))

    def _check_replacement(self, worker: WorkerProcess) -> None:
        if worker.state is WorkerState.STARTING:
            worker.kill(f"it was still importing the app after start_timeout ({self.settings.start_timeout:g} s)")

    def _could_not_start(self, error: OSError) -> None:
        message = f"a worker of {self.name} could not be started: {error}"
        if not self.active:
            self._loop.call_later(0, lambda: self._host.pool_failed(self, message, "", imported=False))
            return
        logger.error("%s", message)
        self._pause(self._backoff.pause(0.0))

    def _pause(self, seconds: float) -> None:
        def resume() -> None:
            self._paused = None
            self._balance()

        self._paused = self._paused or self._loop.call_later(seconds, resume)

    @property
    def threads(self) -> int:
        """Threads of each worker: known for sure once one is ready."""
        return next((worker.slots for worker in self.ready_workers()), self.settings.threads or DEFAULT_THREADS)

    def activate(self) -> None:
        """The trial is over: its workers serve, and failures are survived."""
        self.active = True
        self._start_over()

    def _start_over(self) -> None:
        if self._start_due is not None:
            self._start_due.cancel()  # it holds this pool

    def ready_workers(self) -> list[WorkerProcess]:
        """The workers that serve or may."""
        return [worker for worker in self.workers.values() if worker.state is WorkerState.READY]

    def replace(self, worker: WorkerProcess, why: str) -> None:
        """Start a replacement for a worker, which stays until that one is ready."""
        if worker.recycling or self.closed or not self.active or worker.state is not WorkerState.READY:
            return
        worker.recycling = True
        logger.info("%s (pid %d) is replaced: %s", worker, worker.pid, why)
        self._balance()

    def give_up(self, worker: WorkerProcess) -> None:
        """Start a replacement for a worker that is about to be killed, after a pause if that keeps happening."""
        if worker.recycling or self.closed or not self.active or worker.state is not WorkerState.READY:
            return
        worker.recycling = True
        pause = self._backoff.pause(time.monotonic() - worker.started_at, LONGEST_PAUSE_SERVING)
        if pause:
            self._pause(pause)
        self._balance()

    def _watch_heart(self, worker: WorkerProcess) -> None:
        if self.settings.heartbeat and worker.state is WorkerState.READY:
            worker.watch_heart(self.settings.heartbeat, lambda: self._host.worker_silent(worker))

    def worker_lost(self, worker: WorkerProcess, cause: str) -> None:
        """A worker can't serve any more."""
        self._host.worker_lost(worker, cause)

    def worker_ready(self, worker: WorkerProcess) -> None:
        """A worker has imported the app."""
        if self.closed:
            worker.stop(0)
            return
        self._watch_heart(worker)
        if not self.active:
            if len(self.ready_workers()) == self.count:
                self._host.pool_ready(self)
            return
        self._host.worker_serves(worker)
        ready = self.ready_workers()
        leaving = [other for other in ready if other.recycling]
        enough = len(ready) - len(leaving) >= self.count
        for other in leaving if enough else leaving[:1]:
            self._host.retire(other, self.settings.stop_timeout if other.leave_within is None else other.leave_within)

    def worker_failed(self, worker: WorkerProcess, failed: Failed) -> None:
        """A worker could not import the app."""
        if self.closed:
            return
        if not self.active:
            self._host.pool_failed(self, failed.error, failed.traceback, imported=True)
        else:
            logger.error("%s could not import %s: %s\n%s", worker, self.settings.target, failed.error, failed.traceback)

    def worker_recycles(self, worker: WorkerProcess, why: str) -> None:
        """A worker reached one of its limits, or was sent a SIGTERM."""

        def replace() -> None:
            if not self._host.stopping:
                self.replace(worker, why)

        self._loop.call_later(_RECYCLE_AFTER, replace)

    def worker_ended(self, worker: WorkerProcess, status: int) -> None:
        """A worker's process has ended, as it should or not."""
        why = cause(status, worker.pid, self._memory, worker.kill_reason)
        lived = time.monotonic() - worker.started_at
        stacks = worker.child.take_dump() if worker.child else ""
        self.workers.pop(worker.number, None)
        self._host.worker_gone(worker, why)
        if not self.active and not self.closed:
            if worker.failed is None:
                self._host.pool_failed(self, f"{worker} {why} while it imported the app", stacks, imported=True)
            return
        wanted = worker.was_leaving or self.closed
        given_up = self.closed and (not self.active or worker.ready is None)
        if worker.failed is None and not given_up and not (wanted and status == 0):
            logger.error("%s (pid %d) %s%s", worker, worker.pid, why, f"\n{stacks}" if stacks else "")
        if wanted:
            return
        served = worker.ready is not None
        pause = self._backoff.pause(lived, LONGEST_PAUSE_SERVING if served else LONGEST_PAUSE)
        if any(time.monotonic() - other.started_at > _HEALTHY for other in self.ready_workers()):
            self._backoff.reset()
        if self._source is not None and not served:
            self._source.close()  # a preload process that is broken must not make more of the same
            self._source = None
        if pause:
            self._pause(pause)
        self._balance()

    def reopen(self, descriptors: Sequence[int]) -> None:
        """Have the workers that are there, and those to come, write to a new error log."""
        for worker in self.workers.values():
            worker.reopen(descriptors)
        if self._source is not None:
            self._source.reopen(descriptors)

    def close(self) -> None:
        """Start no more workers; those there are are the caller's to retire."""
        self.closed = True
        if self._paused is not None:
            self._paused.cancel()
        self._start_over()
        if self._source is not None:
            self._source.close()
            self._source = None

    def abandon(self) -> None:
        """End a trial: no worker has served, so none has anything to finish."""
        self.close()
        for worker in list(self.workers.values()):
            if worker.state is WorkerState.READY:
                worker.stop(0)
            else:
                worker.kill("its start was given up")
