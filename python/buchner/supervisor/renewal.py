"""Certificates that change while the service runs: the plan in force with what is in their files now.

Workers, listeners and all else stay as they are; connections go on under the certificate they began with.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from buchner.config.tls import stamp
from buchner.errors import BuchnerError, ConfigError
from buchner.supervisor.gateways import Force

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from buchner.config.model import Loaded
    from buchner.config.tls import PolicyFiles, Stamp
    from buchner.supervisor.gateway_process import GatewayProcess
    from buchner.supervisor.gateways import Gateways
    from buchner.supervisor.loop import Loop, Timer
    from buchner.supervisor.pool import Pool

logger = logging.getLogger("buchner")

Place = tuple[str, int]
"""A table of the plan, and an index in it."""
_EVERY = 3.0
"""Seconds between two looks at the files."""
_PLAN_SECONDS = 60.0
"""What a gateway has to put a plan in force."""


class RenewalHost(Protocol):
    """The supervisor, as a renewal needs it."""

    loop: Loop
    gateways: Gateways


class Renewal:
    """One attempt to put changed files in force; a deployment that starts nothing.

    Args:
        supervisor: Whose plan is changed on success.
        policies: By table of the plan and index in it, what of a policy is another.
        done: Called with None on success, else with the reason nothing was changed.
    """

    def __init__(
        self,
        supervisor: RenewalHost,
        policies: Mapping[tuple[str, int], Mapping[str, Any]],
        done: Callable[[BuchnerError | None], None],
    ) -> None:
        self.pools: dict[str, Pool] = {}
        self._supervisor = supervisor
        self._policies = policies
        self._done = done
        self._gateway: GatewayProcess | None = None
        self._force: Force | None = None
        self._number: int | None = None
        self._due: Timer | None = None
        self._ended = False

    def start(self) -> None:
        """Begin; `done` may be called before this returns."""
        gateways = self._supervisor.gateways
        gateway, force = gateways.current, gateways.force
        if gateway is None or force is None:
            self.fail(BuchnerError("no gateway serves"))
            return
        self._gateway = gateway
        self._force = Force(force.plan.with_policies(self._policies), force.listeners, force.terms)
        self._number = gateways.send_plan(gateway, self._force)
        late = BuchnerError(f"the gateway (pid {gateway.pid}) did not take it in {_PLAN_SECONDS:g} s")
        self._due = self._supervisor.loop.call_later(_PLAN_SECONDS, lambda: self.fail(late))

    def plan_answered(self, number: int, error: str | None) -> None:
        """The gateway took the plan or refused it."""
        if number != self._number or self._ended or self._gateway is None or self._force is None:
            return
        if error is not None:
            self.fail(ConfigError(error))
            return
        self._end()
        self._supervisor.gateways.promote(self._gateway, self._force)
        self._done(None)

    def gateway_gone(self, gateway: GatewayProcess, why: str) -> None:
        """A gateway's process has ended; its successor is started with the plan before."""
        if gateway is self._gateway and not self._ended:
            self.fail(BuchnerError(f"the gateway {why}"))

    def pool_ready(self, pool: Pool) -> None:
        """No pool is of this."""

    def pool_failed(self, message: str, traceback: str, *, imported: bool) -> None:
        """No pool is of this."""

    def fail(self, error: BuchnerError) -> None:
        """Let go of the plan that is not to be."""
        if self._ended:
            return
        self._end()
        gateways = self._supervisor.gateways
        if self._number is not None and self._gateway is gateways.current is not None and gateways.force is not None:
            gateways.send_plan(gateways.current, gateways.force)  # it may have taken the other one meanwhile
        if self._force is not None:
            self._force.plan.close()
        self._done(error)

    def _end(self) -> None:
        self._ended = True
        if self._due is not None:
            self._due.cancel()


class CertificatesHost(RenewalHost, Protocol):
    """The supervisor, as the watch needs it."""

    loaded: Loaded | None

    @property
    def is_settled(self) -> bool:
        """Whether something serves and nothing is being changed."""

    def renew(
        self, policies: Mapping[tuple[str, int], Mapping[str, Any]], done: Callable[[BuchnerError | None], None]
    ) -> None:
        """Put changed contents of policies in force."""


class CertificateWatch:
    """Looks at the files of TLS policies, and has those put in force that have changed and can be used."""

    def __init__(self, supervisor: CertificatesHost) -> None:
        self._supervisor = supervisor
        self._loaded: Loaded | None = None
        self._seen: dict[Place, tuple[Stamp, ...]] = {}
        """By policy, the files that are in force or were refused."""
        self._broken: dict[Place, tuple[Stamp, ...]] = {}
        """The files that could not be used at the last look: a renewal replaces one after the other."""
        self._told: set[str] = set()

    def start(self) -> None:
        """Look from now on."""
        self._supervisor.loop.call_later(_EVERY, self._turn)

    def _turn(self) -> None:
        self.start()
        if self._supervisor.is_settled:
            self.look()

    def look(self) -> None:
        """Look once."""
        loaded = self._supervisor.loaded
        if loaded is None or not (loaded.policies or loaded.terms):
            return
        if loaded is not self._loaded:
            self._loaded = loaded
            self._seen = {place: files.stamps for place, files in loaded.files_in_plan().items()}
            self._broken.clear()
            self._told.clear()
        stamps: dict[Path, Stamp] = {}
        changed: dict[Place, dict[str, Any]] = {}
        now: dict[Place, tuple[Stamp, ...]] = {}
        names: list[str] = []
        for place, files in loaded.files_in_plan().items():
            for path in files.paths():
                if path not in stamps:
                    stamps[path] = stamp(path)
            found = tuple(stamps[path] for path in files.paths())
            if found != self._seen[place] and (contents := self._read(place, files, found)) is not None:
                changed[place], now[place] = contents, found
                names += files.names()
        if changed:
            self._renew(changed, now, ", ".join(dict.fromkeys(names)))

    def _read(self, place: Place, files: PolicyFiles, found: tuple[Stamp, ...]) -> dict[str, Any] | None:
        try:
            contents, warnings = files.read()
        except ConfigError as error:
            if self._broken.get(place) != found:
                self._broken[place] = found
                return None
            self._seen[place] = found
            self._tell(logging.ERROR, f"{error}; the certificate in force stays")
            return None
        for warning in warnings:
            self._tell(logging.WARNING, str(warning))
        return contents

    def _tell(self, level: int, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            logger.log(level, "%s", message)

    def _renew(self, changed: dict[Place, dict[str, Any]], now: dict[Place, tuple[Stamp, ...]], listed: str) -> None:
        def done(error: BuchnerError | None) -> None:
            if error is None:
                logger.info("changed certificates are in force: %s", listed)
                self._told.clear()
            else:
                logger.error("changed certificates (%s) are not in force: %s", listed, error)
            if error is None or isinstance(error, ConfigError):
                self._seen.update(now)  # else the next look tries again

        self._supervisor.renew(changed, done)
