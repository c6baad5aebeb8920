"""The gateway processes: one serves, others may be draining after it took their place.

A gateway that dies is started again at once on the same listeners, with the same plan and the workers that are there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from buchner.supervisor.gateway_process import GatewayProcess, GatewayState
from buchner.supervisor.launch import environment_of_gateway
from buchner.supervisor.messages import PROTOCOL, Challenged, Hello, PlanReady, Refused, StatusAnswer
from buchner.supervisor.pool import LONGEST_PAUSE, LONGEST_PAUSE_SERVING, Backoff
from buchner.supervisor.process import MemoryEvents, Reaper, cause, python_command

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buchner.supervisor.identity import Identity
    from buchner.supervisor.listeners import Listener
    from buchner.supervisor.loop import Loop
    from buchner.supervisor.sealed_plan import SealedPlan
    from buchner.supervisor.worker_process import WorkerProcess

logger = logging.getLogger("buchner")


class GatewaysHost(Protocol):
    """The supervisor, as the gateways need it."""

    stopping: bool

    def serving_workers(self) -> Iterable[WorkerProcess]:
        """The workers a new gateway is given."""

    def plan_answered(self, gateway: GatewayProcess, number: int, error: str | None) -> None:
        """A plan is in force, or was refused."""

    def gateway_said(self, gateway: GatewayProcess, message: Any) -> None:
        """A gateway said something about workers, or that it has drained."""

    def gateway_gone(self, gateway: GatewayProcess, why: str) -> None:
        """A gateway's process has ended."""


@dataclass(frozen=True)
class Terms:
    """How a gateway process is run.

    Args:
        identity: Whom it becomes; None: the user of this process.
        open_files: See `ProcessSettings.open_files`.
    """

    identity: Identity | None = None
    open_files: int = 0


@dataclass
class Force:
    """What the serving gateway obeys; kept to start its successor with."""

    plan: SealedPlan
    listeners: dict[str, Listener]
    terms: Terms


class Gateways:
    """All gateway processes.

    Args:
        command: The program of a gateway; tests put another one here.
    """

    def __init__(
        self, loop: Loop, reaper: Reaper, memory: MemoryEvents, host: GatewaysHost, command: Sequence[str] | None = None
    ) -> None:
        self.current: GatewayProcess | None = None
        self.all: dict[int, GatewayProcess] = {}
        self.force: Force | None = None
        self.last_number = 0
        self.last_plan = 0
        self._loop = loop
        self._reaper = reaper
        self._memory = memory
        self._host = host
        self._command = list(command) if command else python_command("buchner.gateway")
        self._backoff = Backoff()
        self._questions: dict[int, Callable[[dict[str, Any]], None]] = {}
        self._challenges: Mapping[str, str] = {}
        self._challenged: dict[int, tuple[set[int], Callable[[], None]]] = {}
        """By number of a table of challenges, the gateways that have not confirmed it, and who waits for them."""
        self._last_challenges = 0

    def spawn(self, io_threads: int, terms: Terms) -> GatewayProcess:
        """Start a gateway process; raises OSError where that is not possible."""
        self.last_number += 1
        gateway = GatewayProcess(self.last_number, io_threads, self)
        command = [*self._command, "--open-files", str(terms.open_files)] if terms.open_files else self._command
        gateway.start(self._reaper, self._loop, command, terms.identity, environment_of_gateway())
        self.all[gateway.number] = gateway
        if self._challenges:
            gateway.challenges(0, self._challenges)
        return gateway

    def adopt(self, number: int, io_threads: int, sock: Any, pid: int, dump: int) -> GatewayProcess:
        """Take over a gateway from before an upgrade."""
        gateway = GatewayProcess(number, io_threads, self)
        gateway.adopt(self._reaper, self._loop, sock, pid, dump)
        self.all[number] = gateway
        return gateway

    def send_plan(self, gateway: GatewayProcess, force: Force) -> int:
        """Send listeners and plan; `GatewaysHost.plan_answered` follows with the number returned."""
        for listener in force.listeners.values():
            gateway.listen(listener)
        self.last_plan += 1
        gateway.plan(self.last_plan, force.plan)
        return self.last_plan

    def promote(self, gateway: GatewayProcess, force: Force) -> GatewayProcess | None:
        """Make a gateway the one that serves under this plan; returns the one before, if it is another."""
        if self.force is not None and self.force is not force:
            self.force.plan.close()
        before, self.current, self.force = self.current, gateway, force
        gateway.state = GatewayState.SERVING
        gateway.addresses &= set(force.listeners)
        gateway.serving_since = gateway.serving_since or time.monotonic()
        return before if before is not gateway else None

    def attach(self, worker: WorkerProcess) -> None:
        """Give a worker to the gateway that serves; draining ones have no new requests to give."""
        if self.current is not None and self.current.is_usable:
            _attach(worker, self.current)

    def holders(self, worker: int) -> list[GatewayProcess]:
        """The gateways that may still have requests running on a worker."""
        return [gateway for gateway in self.all.values() if worker in gateway.attached]

    def worker_gone(self, worker: int, why: str) -> None:
        """Tell every gateway that a worker's process has ended."""
        for gateway in self.all.values():
            gateway.gone(worker, why)

    def ask(self, answer: Callable[[dict[str, Any]], None], seconds: float = 2.0) -> None:
        """Ask the serving gateway for its counters; an empty object comes when it does not answer in time."""
        gateway = self.current
        if gateway is None:
            answer({})
            return
        number = max(self._questions, default=0) + 1
        self._questions[number] = answer
        self._loop.call_later(seconds, lambda: self._answered(number, {}))
        gateway.ask_status(number)

    def _answered(self, number: int, counters: dict[str, Any]) -> None:
        answer = self._questions.pop(number, None)
        if answer is not None:
            answer(counters)

    def set_challenges(self, http: Mapping[str, str], done: Callable[[], None]) -> None:
        """Have all gateways respond to challenges of certificate authorities.

        Args:
            http: What to respond, by token; the whole table.
            done: Called when every gateway that accepts does so.
        """
        self._challenges = dict(http)
        self._last_challenges += 1
        accepting = [gateway for gateway in self.all.values() if gateway.is_usable]
        self._challenged[self._last_challenges] = {gateway.number for gateway in accepting}, done
        for gateway in accepting:
            gateway.challenges(self._last_challenges, self._challenges)
        self._confirm()

    def _confirm(self, gateway: int = 0, table: int | None = None) -> None:
        """Note that a gateway has a table, or (None) that nobody waits for that gateway any more."""
        for number, (missing, done) in list(self._challenged.items()):
            if table in (None, number):
                missing.discard(gateway)
            if not missing:
                del self._challenged[number]
                done()

    def gateway_said(self, gateway: GatewayProcess, message: Any) -> None:
        """Sort what gateways say."""
        if isinstance(message, Hello):
            if message.protocol != PROTOCOL:
                logger.error("gateway %d speaks protocol %d, not %d", gateway.number, message.protocol, PROTOCOL)
                gateway.channel.close()
        elif isinstance(message, PlanReady):
            self._host.plan_answered(gateway, message.id, None)
        elif isinstance(message, Refused):
            self._host.plan_answered(gateway, message.id, message.error)
        elif isinstance(message, StatusAnswer):
            self._answered(message.id, message.status)
        elif isinstance(message, Challenged):
            self._confirm(gateway.number, message.id)
        else:
            self._host.gateway_said(gateway, message)

    def gateway_ended(self, gateway: GatewayProcess, status: int) -> None:
        """A gateway's process has ended: start the next one if it was the one that served."""
        self.all.pop(gateway.number, None)
        why = cause(status, gateway.pid, self._memory)
        self._confirm(gateway.number)
        was_current = gateway is self.current
        stacks = gateway.child.take_dump() if gateway.child else ""
        if was_current:
            self.current = None
        if was_current and not self._host.stopping:
            logger.error(
                "the gateway (pid %d) %s; starting another%s", gateway.pid, why, f"\n{stacks}" if stacks else ""
            )
        elif status != 0:
            logger.error("gateway %d (pid %d) %s%s", gateway.number, gateway.pid, why, f"\n{stacks}" if stacks else "")
        self._host.gateway_gone(gateway, why)
        if was_current and not self._host.stopping:
            longest = LONGEST_PAUSE if gateway.serving_since is None else LONGEST_PAUSE_SERVING
            pause = self._backoff.pause(time.monotonic() - gateway.started_at, longest)
            if pause:
                self._loop.call_later(pause, self.restart)
            else:
                self.restart()

    def restart(self) -> None:
        """Start the serving gateway again, with everything it had."""
        if self._host.stopping or self.current is not None or self.force is None:
            return
        try:
            gateway = self.spawn(self.force.plan.io_threads, self.force.terms)
        except OSError as error:
            logger.error("the gateway could not be started: %s", error)  # noqa: TRY400 - words, no frames
            self._loop.call_later(self._backoff.pause(0.0), self.restart)
            return
        self.current = gateway
        self.send_plan(gateway, self.force)
        for worker in self._host.serving_workers():
            _attach(worker, gateway)

    def reopen(self, descriptors: Sequence[int]) -> None:
        """Have all gateways reopen their log files."""
        for gateway in self.all.values():
            gateway.reopen(descriptors)


def _attach(worker: WorkerProcess, gateway: GatewayProcess) -> None:
    """Give a worker to a gateway; one that cannot be given is of no use, and its replacement tries again."""
    try:
        worker.attach(gateway)
    except OSError as error:
        logger.error(  # noqa: TRY400 - words, no frames
            "%s (pid %d) cannot be given to the gateway: %s; raise the limit of open files (LimitNOFILE=, ulimit -n)",
            worker, worker.pid, error.strerror,
        )  # fmt: skip
        worker.kill(f"it could not be given to the gateway ({error.strerror})")
