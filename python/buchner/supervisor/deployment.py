"""A deployment: putting a configuration and the code of the apps in force, whole or not at all.

The start, a reload and the second half of an upgrade are the same steps. Workers of the new code are started and must
all become ready; then the gateway (the one that serves, or a new one) must take the plan; only then is anything
old let go. A failure before that leaves everything as it was.

    open listeners → start workers (and gateway) → all ready → plan → in force → attach new workers, retire old ones
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from buchner.config.sockets import SocketOptions
from buchner.errors import AppImportError, BuchnerError
from buchner.supervisor.gateways import Force, Terms
from buchner.supervisor.identity import may_read, of_gateway, of_workers
from buchner.supervisor.listeners import open_listener, tune
from buchner.supervisor.plan import complete, trusted
from buchner.supervisor.sealed_plan import SealedPlan, io_threads

if TYPE_CHECKING:
    from buchner.config.model import Loaded, ProcessSettings
    from buchner.supervisor.gateway_process import GatewayProcess
    from buchner.supervisor.gateways import Gateways
    from buchner.supervisor.listeners import Listener
    from buchner.supervisor.loop import Loop, Timer
    from buchner.supervisor.messages import WorkerReady
    from buchner.supervisor.pool import Pool
    from buchner.supervisor.workers import Workers

logger = logging.getLogger("buchner")

Done = Callable[[BuchnerError | None], None]

_PLAN_SECONDS = 60.0
"""What a gateway has to put a plan in force; ten thousand servers take about one second."""


def terms_of(process: ProcessSettings) -> Terms:
    """How the gateway of a configuration is run.

    Raises:
        ConfigError: Its user is unknown, or this process may not become it.
    """
    return Terms(of_gateway(process), process.open_files)


class DeploymentHost(Protocol):
    """The supervisor, as a deployment needs it."""

    loop: Loop
    gateways: Gateways
    workers: Workers
    listeners: dict[str, Listener]
    loaded: Loaded | None

    def take_passed(self, address: str) -> Listener | None:
        """The socket of socket activation that is bound to this address."""

    def prepare_logs(self, force: Force) -> None:
        """Make the access logs the gateway's user may not create."""


class Deployment:
    """One attempt; ends with a call of `done`.

    Args:
        supervisor: Whose state is changed on success.
        loaded: The configuration.
        terms: How its gateway is run.
        replace_gateway: Start a new gateway process even if the one there could take the plan.
        done: Called with None on success, else with the reason nothing was changed.
    """

    def __init__(
        self, supervisor: DeploymentHost, loaded: Loaded, terms: Terms, *, replace_gateway: bool, done: Done
    ) -> None:
        self._supervisor = supervisor
        self.loaded = loaded
        self._terms = terms
        self._done = done
        self._ended = False
        self._opened: list[Listener] = []
        self._listeners: dict[str, Listener] = {}
        self._waiting: set[str] = set()
        self._plan_number: int | None = None
        self._plan_due: Timer | None = None
        self._force: Force | None = None
        self.pools: dict[str, Pool] = {}
        self.gateway: GatewayProcess | None = None
        force = supervisor.gateways.force
        self._keeps_gateway = (
            not replace_gateway
            and supervisor.gateways.current is not None
            and force is not None
            and force.plan.io_threads == io_threads(loaded.plan)
            and force.terms == terms
        )

    def start(self) -> None:
        """Begin; `done` may be called before this returns."""
        supervisor = self._supervisor
        try:
            self._open_listeners()
            if not self._keeps_gateway:
                self.gateway = supervisor.gateways.spawn(io_threads(self.loaded.plan), self._terms)
            for name, settings in self.loaded.app.items():
                self.pools[name] = supervisor.workers.make_pool(name, settings, self.loaded.process)
        except BuchnerError as error:
            self.fail(error)
            return
        except OSError as error:
            self.fail(BuchnerError(f"a process could not be started: {error}"))
            return
        self._waiting = set(self.pools)
        for pool in self.pools.values():
            pool.start()
        if not self._waiting:
            self._send_plan()

    def _open_listeners(self) -> None:
        for address in dict.fromkeys(self.loaded.listen):
            listener = self._supervisor.listeners.get(address) or self._supervisor.take_passed(address)
            if listener is None:
                listener = open_listener(address, self.loaded.sockets.get(address, SocketOptions()))
                self._opened.append(listener)
            self._listeners[address] = listener

    def pool_ready(self, pool: Pool) -> None:
        """All workers of a pool have imported the app."""
        self._waiting.discard(pool.name)
        if not self._waiting and not self._ended:
            self._send_plan()

    def pool_failed(self, message: str, traceback: str, *, imported: bool) -> None:
        """A worker failed: the deployment has."""
        self.fail(AppImportError(message, traceback) if imported else BuchnerError(message))

    def _send_plan(self) -> None:
        gateways = self._supervisor.gateways
        gateway = self.gateway or gateways.current
        if gateway is None:
            self.fail(BuchnerError("the gateway ended while the configuration was made ready; it is being restarted"))
            return
        plan = complete(self.loaded.plan, self._apps(), may_read(self._terms.identity))
        self._force = Force(SealedPlan.seal(plan), self._listeners, self._terms)
        self.loaded = self.loaded.without_plan()
        self._supervisor.prepare_logs(self._force)
        self._plan_number = gateways.send_plan(gateway, self._force)
        self._plan_due = self._supervisor.loop.call_later(_PLAN_SECONDS, lambda: self._plan_late(gateway))

    def _plan_late(self, gateway: GatewayProcess) -> None:
        self.fail(
            BuchnerError(f"the gateway (pid {gateway.pid}) did not take the configuration in {_PLAN_SECONDS:g} s")
        )

    def _apps(self) -> dict[str, WorkerReady]:
        apps = {}
        for name, pool in self.pools.items():
            ready = next((worker.ready for worker in pool.ready_workers()), None)
            if ready is not None:
                user = of_workers(pool.settings, self.loaded.process)
                apps[name] = trusted(ready, may_read(user))
        return apps

    def plan_answered(self, number: int, error: str | None) -> None:
        """The gateway took the plan or refused it."""
        if number != self._plan_number or self._ended:
            return
        if error is not None:
            self.fail(BuchnerError(f"the gateway refused the configuration: {error}"))
        else:
            self._commit()

    def gateway_gone(self, gateway: GatewayProcess, why: str) -> None:
        """A gateway's process has ended; matters if it is the new one, or the one the plan was sent to."""
        if self._ended:
            return
        if gateway is self.gateway:
            self.gateway = None
            self.fail(BuchnerError(f"the gateway {why} while it started"))
        elif self._keeps_gateway and self._plan_number is not None:
            self.fail(BuchnerError(f"the gateway {why} while it took the configuration"))

    def _end(self) -> None:
        self._ended = True
        if self._plan_due is not None:
            self._plan_due.cancel()  # it holds this deployment

    def _commit(self) -> None:
        self._end()
        supervisor = self._supervisor
        gateways = supervisor.gateways
        gateway = self.gateway or gateways.current
        if gateway is None or self._force is None:
            return
        before = gateways.promote(gateway, self._force)
        old_pools, supervisor.workers.pools = supervisor.workers.pools, self.pools
        old_listeners, supervisor.listeners = supervisor.listeners, self._listeners
        supervisor.loaded = self.loaded
        for address, listener in self._listeners.items():
            if listener not in self._opened:
                tune(listener, self.loaded.sockets.get(address, SocketOptions()))
        for pool in self.pools.values():
            pool.activate()
            for worker in pool.ready_workers():
                supervisor.workers.worker_serves(worker)
        if before is not None:
            before.drain(self.loaded.process.shutdown_timeout)
        for pool in old_pools.values():
            supervisor.workers.dismiss(pool)
        for address, listener in old_listeners.items():
            if address not in self._listeners:
                listener.close()
        self._done(None)

    def fail(self, error: BuchnerError) -> None:
        """Undo what was begun."""
        if self._ended:
            return
        self._end()
        for pool in self.pools.values():
            self._supervisor.workers.abandon(pool)
        gateways = self._supervisor.gateways
        if self.gateway is not None:
            self.gateway.dismiss(self._supervisor.loop)
        elif self._plan_number is not None and gateways.current is not None and gateways.force is not None:
            # It was sent listeners that only a plan without them makes it close.
            gateways.current.addresses &= set(gateways.force.listeners)
            gateways.send_plan(gateways.current, gateways.force)
        for listener in self._opened:
            listener.close()
        if self._force is not None:
            self._force.plan.close()
        self._done(error)
