"""The workers of all generations: of the pools that serve, and of earlier ones whose requests are still running."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Protocol

from buchner import cpus
from buchner.supervisor import identity
from buchner.supervisor.launch import ExecSource, PreloadSource, WorkerSource
from buchner.supervisor.pool import Pool
from buchner.supervisor.stacks import StackDump
from buchner.supervisor.worker_process import WorkerProcess, WorkerState

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from buchner.config.model import AppSettings, Loaded, ProcessSettings
    from buchner.supervisor.gateways import Gateways
    from buchner.supervisor.launch import Launcher
    from buchner.supervisor.loop import Loop
    from buchner.supervisor.messages import Lost, Retired, Stuck
    from buchner.supervisor.process import MemoryEvents

logger = logging.getLogger("buchner")

_HUNG_GRACE = 10.0
"""Seconds the neighbours of a request that hung have to finish once the worker's replacement serves."""
_ALIVE_WITHIN = 0.25
"""Seconds a worker's main thread has to answer a ping."""
_DEATH_TOLD_WITHIN = 0.25
"""Seconds in which a lost worker's process may turn out to have ended: its status says more than its sockets do."""
_HELD_GRACE = 2.0
"""Seconds until a worker whose interpreter is held by C code is killed; what waits in it is then tried elsewhere."""


class Trial(Protocol):
    """A deployment, as its workers need it."""

    pools: dict[str, Pool]

    def pool_ready(self, pool: Pool) -> None:
        """All workers of a pool have imported the app."""

    def pool_failed(self, message: str, traceback: str, *, imported: bool) -> None:
        """A worker failed."""


class WorkersHost(Protocol):
    """The supervisor, as the workers need it."""

    loop: Loop
    memory: MemoryEvents
    launcher: Launcher
    gateways: Gateways
    loaded: Loaded | None
    stopping: bool

    @property
    def preload(self) -> tuple[socket.socket, int] | None:
        """The process that forks the only app's workers, if there is one."""

    @property
    def trial(self) -> Trial | None:
        """The deployment that is under way."""

    def process_ended(self) -> None:
        """A worker has ended."""


class Workers:
    """Makes pools, puts them out of service, and knows every worker; the `PoolHost`."""

    def __init__(self, supervisor: WorkersHost) -> None:
        self.pools: dict[str, Pool] = {}
        """The pools that serve, by name."""
        self.leaving: list[Pool] = []
        """Pools of earlier generations whose workers are finishing."""
        self._supervisor = supervisor
        self._shared_source: WorkerSource | None = None
        self._dumps: dict[int, StackDump] = {}

    # Pools

    def make_pool(self, name: str, settings: AppSettings, process: ProcessSettings) -> Pool:
        """Make a pool of the code of now; raises ConfigError where its user is unknown."""
        supervisor = self._supervisor
        user = identity.of_workers(settings, process)
        if user is None and os.geteuid() == 0 and supervisor.loaded is None:
            logger.warning(
                "the workers of %s run as root: set `user` (or --user) to a user of its own", settings.target
            )

        def source() -> WorkerSource:
            preload = supervisor.preload
            if preload is not None:
                self._shared_source = self._shared_source or PreloadSource(
                    supervisor.launcher, name, settings, user, preload
                )
                return self._shared_source
            kind = PreloadSource if settings.preload else ExecSource
            return kind(supervisor.launcher, name, settings, user)

        count = settings.workers or cpus.usable()
        return Pool(name, settings, count, source, self, supervisor.loop, supervisor.memory)

    def abandon(self, pool: Pool) -> None:
        """End a pool that never served."""
        self.leaving.append(pool)
        pool.abandon()

    def dismiss(self, pool: Pool) -> None:
        """Retire a pool that has been replaced."""
        self.leaving.append(pool)
        pool.close()
        for worker in list(pool.workers.values()):
            self.retire(worker, pool.settings.stop_timeout)

    # What pools say, and ask

    @property
    def stopping(self) -> bool:
        """See `PoolHost`."""
        return self._supervisor.stopping

    def pool_ready(self, pool: Pool) -> None:
        """See `PoolHost`."""
        if (deployment := self._supervisor.trial) is not None:
            deployment.pool_ready(pool)

    def pool_failed(self, pool: Pool, message: str, traceback: str, *, imported: bool) -> None:
        """See `PoolHost`."""
        deployment = self._supervisor.trial
        if deployment is not None and deployment.pools.get(pool.name) is pool:
            deployment.pool_failed(message, traceback, imported=imported)

    def worker_serves(self, worker: WorkerProcess) -> None:
        """See `PoolHost`."""
        self._supervisor.gateways.attach(worker)

    def worker_gone(self, worker: WorkerProcess, why: str) -> None:
        """See `PoolHost`."""
        self._supervisor.gateways.worker_gone(worker.number, why)
        self._dumps.pop(worker.number, None)
        self.leaving = [pool for pool in self.leaving if pool.workers]
        self._supervisor.process_ended()

    def retire(self, worker: WorkerProcess, seconds: float) -> None:
        """Let a worker finish what it runs, within `seconds`, then end it."""
        if worker.state is WorkerState.STARTING:
            worker.kill("it is not needed any more")
        if worker.state is not WorkerState.READY:
            return
        worker.state = WorkerState.RETIRING
        gateways = self._supervisor.gateways
        for gateway in gateways.holders(worker.number):
            if gateway is gateways.current:
                gateway.retire(worker.number)
        worker.retire_by = time.monotonic() + seconds
        worker.later(seconds, lambda: self._end(worker))
        self._end_if_idle(worker)

    def _end_if_idle(self, worker: WorkerProcess) -> None:
        dumping = worker.number in self._dumps  # what it wrote is read first
        if (
            worker.state is WorkerState.RETIRING
            and not dumping
            and not self._supervisor.gateways.holders(worker.number)
        ):
            self._end(worker)

    def _end(self, worker: WorkerProcess) -> None:
        if worker.hung is not None:
            worker.kill(worker.hung)
        else:
            worker.stop(max(1.0, worker.retire_by - time.monotonic()))

    # What gateways say

    def retired(self, message: Retired) -> None:
        """A gateway has no request running on a worker any more."""
        worker = self.find(message.worker)
        if worker is not None:
            self._end_if_idle(worker)

    def gateway_gone(self) -> None:
        """A gateway has ended, and with it the requests it had on workers."""
        for worker in self.all():
            self._end_if_idle(worker)

    def stuck(self, message: Stuck) -> None:
        """A request passed its time: show where it hangs, and replace its worker."""
        worker = self.find(message.worker)
        if worker is None or worker.state in (WorkerState.STOPPING, WorkerState.GONE):
            return
        what = f"{message.request or 'a request'} (request id {message.request_id})"
        logger.error("%s (pid %d): %s passed its app_timeout after %d ms", worker, worker.pid, what, message.thread_ms)
        if worker.number not in self._dumps:
            self._dumps[worker.number] = StackDump(
                self._supervisor.loop, worker, what, lambda: self._forget_dump(worker)
            )
        worker.hung = f"{what} hung"
        pool = self.pools.get(worker.pool)
        if worker.state is WorkerState.READY and pool is not None and worker.number in pool.workers:
            worker.leave_within = _HUNG_GRACE
            pool.replace(worker, f"{what} hangs in it")
            worker.ask_alive(_ALIVE_WITHIN, lambda: self._held(worker))

    def lost(self, message: Lost) -> None:
        """A gateway can't use a worker any more."""
        worker = self.find(message.worker)
        if worker is not None:
            self.worker_lost(worker, message.cause)

    def worker_lost(self, worker: WorkerProcess, cause: str) -> None:
        """A worker can't serve any more, whatever its process does: kill and replace it."""
        worker.later(_DEATH_TOLD_WITHIN, lambda: self._give_up(worker, cause))

    def worker_silent(self, worker: WorkerProcess) -> None:
        """A worker's main thread has not run for `heartbeat`: show where it hangs, and replace it."""
        if worker.number not in self._dumps:
            seconds = self.pools[worker.pool].settings.heartbeat if worker.pool in self.pools else 0
            cause = f"its interpreter has not run for {seconds:g} s (heartbeat): it is stopped, or C code holds it"
            self._give_up(worker, cause, dump=True)

    def _give_up(self, worker: WorkerProcess, cause: str, *, dump: bool = False) -> None:
        if worker.hung is not None or worker.state in (WorkerState.STOPPING, WorkerState.GONE):
            return
        logger.error("%s (pid %d) is lost: %s; it is killed and replaced", worker, worker.pid, cause)
        worker.hung = cause
        for pool in self._all_pools():
            if worker.number in pool.workers:
                pool.give_up(worker)
        if not dump:
            self.retire(worker, 0)
            self._end(worker)
            return

        def dumped() -> None:
            self._dumps.pop(worker.number, None)
            self._end(worker)

        self._dumps[worker.number] = StackDump(self._supervisor.loop, worker, "it", dumped)
        self.retire(worker, 2 * _HELD_GRACE)

    def _held(self, worker: WorkerProcess) -> None:
        """No thread of this worker can run Python: take it out now, its replacement is on the way."""
        logger.error("%s (pid %d): C code holds its interpreter; it gets no more requests", worker, worker.pid)
        self.retire(worker, _HELD_GRACE)

    def _forget_dump(self, worker: WorkerProcess) -> None:
        self._dumps.pop(worker.number, None)

    def reopen(self, error_log: Sequence[int]) -> None:
        """Have all workers write to a new error log."""
        for pool in {id(pool): pool for pool in self._all_pools()}.values():
            pool.reopen(error_log)

    # Looking things up

    def _all_pools(self) -> list[Pool]:
        pools = [*self.pools.values(), *self.leaving]
        if (deployment := self._supervisor.trial) is not None:
            pools += deployment.pools.values()
        return pools

    def all(self) -> list[WorkerProcess]:
        """The workers of all generations."""
        return list({w.number: w for pool in self._all_pools() for w in pool.workers.values()}.values())

    def find(self, number: int) -> WorkerProcess | None:
        """A worker by its id."""
        return next((worker for worker in self.all() if worker.number == number), None)

    def serving(self) -> list[WorkerProcess]:
        """The workers a new gateway is given."""
        return [worker for pool in self.pools.values() for worker in pool.ready_workers()]

    def summary(self) -> str:
        """What runs, in a few words."""
        pools = [f"{_count(pool.count, 'worker')} × {_count(pool.threads, 'thread')}" for pool in self.pools.values()]
        return ", ".join(pools) or "no workers"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
