"""The supervisor: one thread that holds the listeners, starts the processes and keeps them running.

It is never on the path of a request: when it is busy or gone, requests are still answered.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from buchner.config import native
from buchner.errors import BuchnerError
from buchner.supervisor import logs
from buchner.supervisor.child import raise_open_files
from buchner.supervisor.deployments import Deployments, heard, log_refusal
from buchner.supervisor.gateways import Gateways
from buchner.supervisor.keeping import CertificateKeeper
from buchner.supervisor.launch import Launcher
from buchner.supervisor.listeners import Listener, forget_systemd, passed
from buchner.supervisor.loop import Loop
from buchner.supervisor.messages import Drained, Lost, Retired, Stuck
from buchner.supervisor.notify import Notifier
from buchner.supervisor.process import MemoryEvents, Reaper, python_command
from buchner.supervisor.renewal import CertificateWatch
from buchner.supervisor.resume import resume
from buchner.supervisor.stop import Shutdown
from buchner.supervisor.workers import Workers

if TYPE_CHECKING:
    from buchner.config.model import Loaded
    from buchner.supervisor.deployments import Reply
    from buchner.supervisor.gateway_process import GatewayProcess
    from buchner.supervisor.gateways import Force
    from buchner.supervisor.state import State
    from buchner.supervisor.worker_process import WorkerProcess
    from buchner.supervisor.workers import Trial

logger = logging.getLogger("buchner")


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
        self.workers = Workers(self)
        self.deployments = Deployments(self)
        self.certificates = CertificateWatch(self)
        self.keeper = CertificateKeeper(self)
        self.loaded: Loaded | None = None
        """The configuration in force, without its plan (`gateways.force` has that)."""
        self.listeners: dict[str, Listener] = {}
        self.stopping = False
        self.exit_status = 0
        self.started_at = time.time()
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

    # The life of the process

    def set_up(self) -> None:
        """Take signals and orphans; before the first child is started."""
        forget_systemd()
        if os.getpid() != 1:
            native.become_subreaper()
        raise_open_files()
        loop = self.loop
        loop.on_signal(signal.SIGCHLD, self.reaper.reap)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.on_signal(number, self.stop_at_once if self.options.nginx else self.stop)
        loop.on_signal(signal.SIGQUIT, self.stop)
        if self.options.nginx:
            loop.on_signal(signal.SIGWINCH, self.rest)
        loop.on_signal(signal.SIGHUP, lambda: self.deployments.reload(heard))
        loop.on_signal(signal.SIGUSR1, lambda: self.reopen(heard))
        loop.on_signal(signal.SIGUSR2, lambda: self.deployments.upgrade(heard))
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
                log_refusal("upgrade", error)
                self.upgrade_error = error
                self._announce()
            elif not self.stopping:  # a start that was told to stop has not failed
                failure.append(error)
                self.stop()

        try:
            if state is not None:
                resume(self, state)
            self.set_up()
            self.deployments.begin(started, replace_gateway=state is not None)
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

    def _announce(self) -> None:
        self.in_force()
        self.certificates.start()
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

    # What certificates that change need

    @property
    def is_settled(self) -> bool:
        """See `CertificatesHost`."""
        return not self.stopping and self.deployments.current is None and self.gateways.current is not None

    def renew(self, policies: Mapping[tuple[str, int], Mapping[str, Any]], done: Reply) -> None:
        """See `CertificatesHost`."""
        self.deployments.renew(policies, done)

    # What the keeper of certificates needs

    def set_challenges(self, http: Mapping[str, str], done: Callable[[], None]) -> None:
        """See `KeepingHost`."""
        self.gateways.set_challenges(http, done)

    def certificate_issued(self, name: str) -> None:
        """See `KeepingHost`: the first certificate of a name may change more than itself, as a redirect to HTTPS."""
        if self.loaded is not None and name in self.loaded.standing_in:
            self.deployments.reload(heard)
        elif self.is_settled:
            self.certificates.look()

    # What deployments and workers need

    def in_force(self) -> None:
        """See `DeploymentsHost`."""
        self.keeper.follow(self.loaded.kept if self.loaded is not None else None)

    @property
    def title(self) -> str:
        """See `DeploymentsHost`."""
        return self.options.title

    def load(self) -> Loaded:
        """See `DeploymentsHost`."""
        return self.options.load()

    @property
    def preload(self) -> tuple[socket.socket, int] | None:
        """See `WorkersHost`."""
        return self.options.preload

    @property
    def trial(self) -> Trial | None:
        """See `WorkersHost`."""
        return self.deployments.current

    def take_passed(self, address: str) -> Listener | None:
        """The socket of socket activation that is bound to this address."""
        return self._passed.pop(address, None)

    def prepare_logs(self, force: Force) -> None:
        """Make the access logs the gateway's user may not create."""
        logs.prepare(force.plan.logs, force.terms.identity)

    # What gateways need

    def serving_workers(self) -> Iterable[WorkerProcess]:
        """See `GatewaysHost`."""
        return self.workers.serving()

    def plan_answered(self, gateway: GatewayProcess, number: int, error: str | None) -> None:
        """See `GatewaysHost`."""
        if self.deployments.current is not None:
            self.deployments.current.plan_answered(number, error)
        elif error is not None and gateway is self.gateways.current:
            logger.error("the restarted gateway refused the configuration it had: %s", error)
        if error is None and gateway is self.gateways.current and gateway.serving_since is None:
            self.gateways.promote(gateway, self.gateways.force)  # type: ignore[arg-type]
            logger.info("gateway %d (pid %d) serves", gateway.number, gateway.pid)

    def gateway_said(self, gateway: GatewayProcess, message: Any) -> None:
        """See `GatewaysHost`."""
        if isinstance(message, Retired):
            gateway.attached.discard(message.worker)
            self.workers.retired(message)
        elif isinstance(message, Stuck):
            if message.worker in gateway.known:
                self.workers.stuck(message)
        elif isinstance(message, Lost):
            if message.worker in gateway.known:
                self.workers.lost(message)
        elif isinstance(message, Drained) and not gateway.has_drained:
            gateway.has_drained = True
            logger.info("gateway %d has drained", gateway.number)

    def gateway_gone(self, gateway: GatewayProcess, why: str) -> None:
        """See `GatewaysHost`."""
        if self.deployments.current is not None:
            self.deployments.current.gateway_gone(gateway, why)
        gateway.attached.clear()
        self.workers.gateway_gone()
        self.process_ended()

    # Logs

    def reopen(self, done: Reply) -> None:
        """Reopen the log files of all processes."""
        failure, renewed = None, False
        try:
            renewed = logs.reopen()
        except BuchnerError as error:
            logger.error("%s; the one that is open stays", error)  # noqa: TRY400 - words, no frames
            failure = error
        if self.gateways.force is not None:
            self.prepare_logs(self.gateways.force)
        error_log = [sys.stderr.fileno()] if renewed else []
        self.gateways.reopen(error_log)
        if renewed:
            self.workers.reopen(error_log)
            self.keeper.reopen(error_log)
        done(failure)

    # Stopping

    def stop(self, seconds: float | None = None) -> None:
        """Drain and stop; asked a second time, stop at once.

        Args:
            seconds: What requests have to finish; None: `shutdown_timeout`.
        """
        if self._shutdown is not None:
            self._shutdown.hurry()
            return
        self.stopping = True
        self.keeper.close()
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
        if gateway is None or self.stopping or self.deployments.current is not None or self.loaded is None:
            return
        if not self.loaded.process.daemon:
            return  # a terminal sends this signal when its window changes
        logger.info("the gateway (pid %d) ends gracefully; a reload starts one again", gateway.pid)
        self.gateways.current = None
        gateway.drain(self.loaded.process.shutdown_timeout)

    def process_ended(self) -> None:
        """A gateway or worker has ended: a stop may go on."""
        if self._shutdown is not None:
            self._shutdown.step()
