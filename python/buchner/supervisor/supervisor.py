"""The supervisor: one thread that holds the listeners, starts the processes and keeps them running.

It is never on the path of a request: when it is busy or gone, requests are still answered.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from buchner.config import native
from buchner.errors import BuchnerError
from buchner.supervisor import cpus, logs
from buchner.supervisor.deployment import Deployment
from buchner.supervisor.gateways import Gateways
from buchner.supervisor.identity import UNPRIVILEGED, Identity, choose, look_up
from buchner.supervisor.launch import ExecSource, Launcher, PreloadSource, WorkerSource
from buchner.supervisor.listeners import BACKLOG, Listener, forget_systemd, open_listener, passed
from buchner.supervisor.loop import Loop
from buchner.supervisor.messages import Drained, Retired, StatusAnswer, Stuck
from buchner.supervisor.notify import Notifier
from buchner.supervisor.pool import Pool
from buchner.supervisor.process import MemoryEvents, Reaper, python_command
from buchner.supervisor.resume import resume
from buchner.supervisor.stacks import StackDump
from buchner.supervisor.stop import Shutdown
from buchner.supervisor.worker_process import WorkerProcess, WorkerState

if TYPE_CHECKING:
    from buchner.config.model import AppSettings, Loaded
    from buchner.supervisor.gateway_process import GatewayProcess
    from buchner.supervisor.sealed_plan import SealedPlan
    from buchner.supervisor.upgrade import State

logger = logging.getLogger("buchner")

_HUNG_GRACE = 10.0
"""Seconds the neighbours of a request that hung have to finish once the worker's replacement serves."""

_ALIVE_WITHIN = 0.25
"""Seconds a worker's main thread has to answer a ping."""
_HELD_GRACE = 2.0
"""Seconds until a worker whose interpreter is held by C code is killed; what waits in it is then tried elsewhere."""

Reply = Callable[[BuchnerError | None], None]


@dataclass
class Options:
    """What the supervisor is told beside the configuration.

    Args:
        load: Reads the configuration; called again for each reload.
        title: What is served, for the start-up line: an app's target or a file.
        on_serving: Called once, when the first configuration is in force.
        gateway_command: The program of a gateway process; None: the real one.
        worker_command: The program of a worker process; None: the real one.
        preload: Control socket and pid of a process that forks the only app's workers (apps without a name).
        nginx: Signals mean what they mean to nginx: TERM and INT stop at once, WINCH ends the gateway gracefully.
    """

    load: Callable[[], Loaded]
    title: str = ""
    on_serving: Callable[[Supervisor], None] = lambda _supervisor: None
    gateway_command: Sequence[str] | None = None
    worker_command: Sequence[str] | None = None
    preload: tuple[socket.socket, int] | None = None
    nginx: bool = False


class Supervisor:
    """The whole of a running instance."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.loop = Loop()
        self.reaper = Reaper()
        self.memory = MemoryEvents()
        self.notifier = Notifier()
        self.launcher = Launcher(
            self.loop, self.reaper, list(options.worker_command or python_command("buchner.worker"))
        )
        self.gateways: Gateways = Gateways(self.loop, self.reaper, self.memory, self, options.gateway_command)
        self.loaded: Loaded | None = None
        self.pools: dict[str, Pool] = {}
        self.listeners: dict[str, Listener] = {}
        self.leaving: list[Pool] = []
        """Pools of earlier generations whose workers are finishing."""
        self.stopping = False
        self.exit_status = 0
        self.started_at = time.time()
        self.deployment: Deployment | None = None
        self.on_upgrade: Callable[[Reply], None] | None = None
        """Set where an upgrade is possible."""
        self.upgrade_asker: socket.socket | None = None
        """The control connection that asked for an upgrade; the new program answers it."""
        self.upgraded_for: socket.socket | None = None
        """The same, in the new program."""
        self.upgrade_error: BuchnerError | None = None
        """Why the new program could not put itself in force."""
        self.at_exit: list[Callable[[], object]] = []
        """Called when everything has ended."""
        self._shutdown: Shutdown | None = None
        self._passed = {listener.address: listener for listener in passed()}
        self._shared_source: WorkerSource | None = None
        self._again: list[Reply] = []
        self._questions: dict[int, Callable[[dict[str, Any]], None]] = {}
        self._dumps: dict[int, StackDump] = {}

    # The life of the process

    def set_up(self) -> None:
        """Take signals and orphans; before the first child is started."""
        forget_systemd()
        if os.getpid() != 1:
            native.become_subreaper()
        loop = self.loop
        loop.on_signal(signal.SIGCHLD, self.reaper.reap)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.on_signal(number, self.stop_at_once if self.options.nginx else self.stop)
        loop.on_signal(signal.SIGQUIT, self.stop)
        if self.options.nginx:
            loop.on_signal(signal.SIGWINCH, self.rest)
        loop.on_signal(signal.SIGHUP, lambda: self.reload(_heard))
        loop.on_signal(signal.SIGUSR1, self.reopen)
        loop.on_signal(signal.SIGUSR2, lambda: self.upgrade(_heard))
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        if (seconds := self.notifier.watchdog_seconds) is not None:
            self._feed_watchdog(seconds)

    def _feed_watchdog(self, seconds: float) -> None:
        self.notifier.watchdog()
        self.loop.call_later(seconds, lambda: self._feed_watchdog(seconds))

    def run(self, state: State | None = None) -> int:
        """Start, serve until told to stop; returns the exit status.

        Args:
            state: What the program before an upgrade has left running.

        Raises:
            BuchnerError: It could not start.
        """
        failure: list[BuchnerError] = []

        def started(error: BuchnerError | None) -> None:
            if error is None:
                self._announce()
            elif state is not None:
                _log_failure("upgrade")(error)
                self.upgrade_error = error
                self._announce()
            else:
                failure.append(error)
                self.stop()

        try:
            if state is not None:
                resume(self, state)
            self.set_up()
            self.begin(started, replace_gateway=state is not None)
            self.loop.run()
        finally:
            self.close()
        if failure:
            raise failure[0]
        return self.exit_status

    def hold_lifeline(self, fd: int) -> None:
        """Stop when the other end of this pipe is closed."""

        def cut(_events: int) -> None:
            self.loop.unwatch(fd)
            self.stop()

        self.loop.watch(fd, cut)

    def begin(self, done: Reply, *, replace_gateway: bool = False) -> None:
        """Put the first configuration in force."""
        try:
            loaded = self.options.load()
        except BuchnerError as error:
            self.loop.call_later(0, lambda error=error: done(error))  # type: ignore[misc]
            return
        self._say_warnings(loaded)
        self._deploy(loaded, done, replace_gateway=replace_gateway)

    def _announce(self) -> None:
        self.notifier.ready(f"serving {self.options.title}")
        self.options.on_serving(self)

    def close(self) -> None:
        """Let go of listeners and the loop."""
        self.close_listeners()
        for child in self.reaper.children():
            child.kill()
        for callback in self.at_exit:
            callback()
        self.loop.close()

    def close_listeners(self) -> None:
        """Close the listening sockets; the gateways have copies until they drain."""
        listeners, self.listeners = self.listeners, {}
        for listener in listeners.values():
            listener.close()

    # Deployments

    def reload(self, done: Reply) -> None:
        """Read the configuration again and put it in force with the code of now; one at a time, the rest follows."""
        if self.stopping:
            done(BuchnerError("Buchner is stopping"))
            return
        if self.deployment is not None:
            self._again.append(done)
            return
        self.notifier.reloading()
        logger.info("reloading")
        try:
            loaded = self.options.load()
        except BuchnerError as error:
            self._reloaded(error, done)
            return
        self._say_warnings(loaded)
        self._deploy(loaded, lambda error: self._reloaded(error, done))

    def _reloaded(self, error: BuchnerError | None, done: Reply) -> None:
        if error is None:
            logger.info("reloaded: %s", self.summary())
        else:
            _log_failure("reload")(error)
        self.notifier.ready(f"serving {self.options.title}" if error is None else f"reload refused: {error}"[:200])
        done(error)

    def _deploy(self, loaded: Loaded, done: Reply, *, replace_gateway: bool = False) -> None:
        def ended(error: BuchnerError | None) -> None:
            self.deployment = None
            native.give_back_memory()  # what was needed to read the configuration
            done(error)
            waiting, self._again = self._again, []
            if waiting and not self.stopping:
                self.loop.call_later(0, lambda: self.reload(_to_all(waiting)))

        try:
            self.gateways.identity = self._gateway_identity(loaded)
            self.gateways.open_files = loaded.process.open_files
        except BuchnerError as error:
            done(error)
            return
        self.deployment = Deployment(self, loaded, replace_gateway=replace_gateway, done=ended)
        self.deployment.start()

    def upgrade(self, done: Reply) -> None:
        """Replace this program, the gateway and the code by what is installed now."""
        if self.on_upgrade is None:
            done(BuchnerError("an upgrade is not possible here: the app exists only in the process that started it"))
        elif self.stopping or self.deployment is not None:
            done(BuchnerError("a reload or a stop is under way; try again when it is done"))
        else:

            def ended(error: BuchnerError | None) -> None:
                _log_failure("upgrade")(error)
                done(error)

            self.on_upgrade(ended)

    def _say_warnings(self, loaded: Loaded) -> None:
        for warning in loaded.warnings:
            logger.warning("%s", warning)

    def _gateway_identity(self, loaded: Loaded) -> Identity | None:
        process = loaded.process
        if process.user is not None:
            return choose(process.user, process.group)
        return look_up(UNPRIVILEGED) if _is_root() else None

    # What deployments need

    def make_pool(self, name: str, settings: AppSettings) -> Pool:
        """Make a pool of the code of now; raises ConfigError where its user is unknown."""
        user = settings.user or (self._process_user() if settings.user is None else None)
        identity = choose(user, settings.group)
        if identity is None and _is_root() and self.loaded is None:
            logger.warning(
                "the workers of %s run as root: set `user` (or --user) to a user of its own", settings.target
            )

        def source() -> WorkerSource:
            if self.options.preload is not None:
                self._shared_source = self._shared_source or PreloadSource(
                    self.launcher, name, settings, identity, self.options.preload
                )
                return self._shared_source
            if settings.preload:
                return PreloadSource(self.launcher, name, settings, identity)
            return ExecSource(self.launcher, name, settings, identity)

        count = settings.workers or cpus.usable()
        return Pool(name, settings, count, source, self, self.loop, self.memory)

    def _process_user(self) -> str | None:
        deployment = self.deployment
        loaded = deployment.loaded if deployment is not None else self.loaded
        return loaded.process.user if loaded is not None else None

    def open(self, address: str, backlog: int | None) -> Listener:
        """Open an address; raises ListenError."""
        return open_listener(address, backlog or BACKLOG)

    def take_passed(self, address: str) -> Listener | None:
        """The socket of socket activation that is bound to this address."""
        return self._passed.pop(address, None)

    def prepare_logs(self, plan: SealedPlan) -> None:
        """Make the access logs the gateway's user may not create."""
        logs.prepare(plan.access_logs, self.gateways.identity)

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

    # What pools need

    def pool_ready(self, pool: Pool) -> None:
        """See `PoolHost`."""
        if self.deployment is not None:
            self.deployment.pool_ready(pool)

    def pool_failed(self, pool: Pool, message: str, traceback: str, *, imported: bool) -> None:
        """See `PoolHost`."""
        if self.deployment is not None and self.deployment.pools.get(pool.name) is pool:
            self.deployment.pool_failed(message, traceback, imported=imported)

    def worker_serves(self, worker: WorkerProcess) -> None:
        """See `PoolHost`."""
        self.gateways.attach(worker)

    def serving_workers(self) -> Iterable[WorkerProcess]:
        """See `GatewaysHost`."""
        return [worker for pool in self.pools.values() for worker in pool.ready_workers()]

    def retire(self, worker: WorkerProcess, seconds: float) -> None:
        """Let a worker finish what it runs, within `seconds`, then end it."""
        if worker.state is WorkerState.STARTING:
            worker.kill("it is not needed any more")
        if worker.state is not WorkerState.READY:
            return
        worker.state = WorkerState.RETIRING
        for gateway in self.gateways.holders(worker.number):
            if gateway is self.gateways.current:
                gateway.retire(worker.number)
        worker.retire_by = time.monotonic() + seconds
        self.loop.call_later(seconds, lambda: self._end(worker))
        self._end_if_idle(worker)

    def _end_if_idle(self, worker: WorkerProcess) -> None:
        if worker.state is WorkerState.RETIRING and not self.gateways.holders(worker.number):
            self._end(worker)

    def _end(self, worker: WorkerProcess) -> None:
        if worker.hung is not None:
            worker.kill(worker.hung)
        else:
            worker.stop(max(1.0, worker.retire_by - time.monotonic()))

    def worker_gone(self, worker: WorkerProcess, why: str) -> None:
        """See `PoolHost`."""
        self.gateways.worker_gone(worker.number, why)
        self._dumps.pop(worker.number, None)
        self.leaving = [pool for pool in self.leaving if pool.workers]
        self._check_shutdown()

    # What gateways need

    def plan_answered(self, gateway: GatewayProcess, number: int, error: str | None) -> None:
        """See `GatewaysHost`."""
        if self.deployment is not None:
            self.deployment.plan_answered(number, error)
        elif error is not None and gateway is self.gateways.current:
            logger.error("the restarted gateway refused the configuration it had: %s", error)
        if error is None and gateway is self.gateways.current and gateway.serving_since is None:
            self.gateways.promote(gateway, self.gateways.force)  # type: ignore[arg-type]
            logger.info("gateway %d (pid %d) serves", gateway.number, gateway.pid)

    def gateway_said(self, gateway: GatewayProcess, message: Any) -> None:
        """See `GatewaysHost`."""
        if isinstance(message, Retired):
            gateway.attached.discard(message.worker)
            worker = self.worker(message.worker)
            if worker is not None:
                self._end_if_idle(worker)
        elif isinstance(message, Stuck):
            self._stuck(message)
        elif isinstance(message, StatusAnswer):
            answer = self._questions.pop(message.id, None)
            if answer is not None:
                answer(message.status)
        elif isinstance(message, Drained):
            logger.info("gateway %d has drained", gateway.number)

    def gateway_gone(self, gateway: GatewayProcess, why: str) -> None:
        """See `GatewaysHost`."""
        if self.deployment is not None:
            self.deployment.gateway_gone(gateway, why)
        gateway.attached.clear()
        for worker in self.all_workers():
            self._end_if_idle(worker)
        self._check_shutdown()

    def _stuck(self, message: Stuck) -> None:
        """A request passed its time: show where it hangs, and replace its worker."""
        worker = self.worker(message.worker)
        if worker is None or worker.state in (WorkerState.STOPPING, WorkerState.GONE):
            return
        what = f"{message.request or 'a request'} (request id {message.request_id})"
        logger.error("%s (pid %d): %s passed its app_timeout after %d ms", worker, worker.pid, what, message.thread_ms)
        if worker.number not in self._dumps:
            self._dumps[worker.number] = StackDump(
                self.loop, worker, what, lambda: self._dumps.pop(worker.number, None)
            )
        worker.hung = f"{what} hung"
        pool = self.pools.get(worker.pool)
        if worker.state is WorkerState.READY and pool is not None and worker.number in pool.workers:
            worker.leave_within = _HUNG_GRACE
            pool.replace(worker, f"{what} hangs in it")
            worker.ask_alive(_ALIVE_WITHIN, lambda: self._held(worker))

    def _held(self, worker: WorkerProcess) -> None:
        """No thread of this worker can run Python: take it out now, its replacement is on the way."""
        logger.error("%s (pid %d): C code holds its interpreter; it gets no more requests", worker, worker.pid)
        self.retire(worker, _HELD_GRACE)

    # Looking things up

    def all_workers(self) -> list[WorkerProcess]:
        """The workers of all generations."""
        pools = [*self.pools.values(), *self.leaving]
        if self.deployment is not None:
            pools += self.deployment.pools.values()
        return list({worker.number: worker for pool in pools for worker in pool.workers.values()}.values())

    def worker(self, number: int) -> WorkerProcess | None:
        """A worker by its id."""
        return next((worker for worker in self.all_workers() if worker.number == number), None)

    def summary(self) -> str:
        """What runs, in a few words."""
        pools = [
            f"{_count(pool.count, 'worker')} × {_count(pool.settings.threads, 'thread')}"
            for pool in self.pools.values()
        ]
        return ", ".join(pools) or "no workers"

    def ask_gateway(self, answer: Callable[[dict[str, Any]], None], seconds: float = 2.0) -> None:
        """Ask the serving gateway for its counters; an empty object comes when it does not answer in time."""
        gateway = self.gateways.current
        if gateway is None:
            answer({})
            return
        number = max(self._questions, default=0) + 1
        self._questions[number] = answer

        def give_up() -> None:
            late = self._questions.pop(number, None)
            if late is not None:
                late({})

        self.loop.call_later(seconds, give_up)
        gateway.ask_status(number)

    # Stopping

    def reopen(self) -> None:
        """Reopen log files."""
        logs.reopen()
        if self.gateways.force is not None:
            self.prepare_logs(self.gateways.force.plan)
        self.gateways.reopen()

    def stop(self, seconds: float | None = None) -> None:
        """Drain and stop; asked a second time, stop at once.

        Args:
            seconds: What requests have to finish; None: `shutdown_timeout`.
        """
        if self._shutdown is not None:
            self._shutdown.hurry()
            return
        self.stopping = True
        self._shutdown = Shutdown(self, seconds)
        self._shutdown.start()

    def stop_at_once(self) -> None:
        """Stop without waiting for requests; logs are written out."""
        if self._shutdown is not None and self._shutdown.is_graceful:
            self._shutdown = None
        self.stop(0)

    def rest(self) -> None:
        """Drain the gateway and have none until the next reload; listeners stay open, so connections queue."""
        gateway = self.gateways.current
        if gateway is None or self.stopping or self.deployment is not None or self.loaded is None:
            return
        if not self.loaded.process.daemon:
            return  # a terminal sends this signal when its window changes
        logger.info("the gateway (pid %d) ends gracefully; a reload starts one again", gateway.pid)
        self.gateways.current = None
        gateway.drain(self.loaded.process.shutdown_timeout)

    def _check_shutdown(self) -> None:
        if self._shutdown is not None:
            self._shutdown.step()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _is_root() -> bool:
    return os.geteuid() == 0


def _to_all(waiting: list[Reply]) -> Reply:
    def reply(error: BuchnerError | None) -> None:
        for one in waiting:
            one(error)

    return reply


def _heard(_error: BuchnerError | None) -> None:
    """Answer nobody: a signal asked."""


def _log_failure(what: str) -> Reply:
    def reply(error: BuchnerError | None) -> None:
        if error is not None:
            traceback = getattr(error, "traceback", "")
            logger.error("%s refused, nothing was changed: %s%s", what, error, f"\n{traceback}" if traceback else "")

    return reply
