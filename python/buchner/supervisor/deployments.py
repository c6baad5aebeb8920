"""Start, reload and upgrade: the deployments, one after the other, and what is told of them."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from buchner.config import native
from buchner.errors import BuchnerError
from buchner.supervisor.deployment import Deployment, DeploymentHost, terms_of
from buchner.supervisor.renewal import Renewal

if TYPE_CHECKING:
    from buchner.config.model import Loaded
    from buchner.supervisor.notify import Notifier

logger = logging.getLogger("buchner")

Reply = Callable[[BuchnerError | None], None]


class DeploymentsHost(DeploymentHost, Protocol):
    """The supervisor, as the deployments need it."""

    notifier: Notifier
    stopping: bool

    @property
    def title(self) -> str:
        """What is served."""

    def in_force(self) -> None:
        """Another configuration is in force."""

    def load(self) -> Loaded:
        """Read the configuration; raises BuchnerError."""


class Deployments:
    """At most one runs; a reload that is asked for meanwhile follows it."""

    def __init__(self, supervisor: DeploymentsHost) -> None:
        self.current: Deployment | Renewal | None = None
        self.on_upgrade: Callable[[Reply], None] | None = None
        """Set where an upgrade is possible."""
        self._supervisor = supervisor
        self._again: list[Reply] = []

    def begin(self, done: Reply, *, replace_gateway: bool = False) -> None:
        """Put the first configuration in force."""
        supervisor = self._supervisor
        try:
            loaded = supervisor.load()
        except BuchnerError as error:
            supervisor.loop.call_later(0, lambda error=error: done(error))  # type: ignore[misc]
            return
        self._deploy(loaded, done, replace_gateway=replace_gateway)

    def reload(self, done: Reply) -> None:
        """Read the configuration again and put it in force with the code of now; one at a time, the rest follows."""
        supervisor = self._supervisor
        if supervisor.stopping:
            done(BuchnerError("Buchner is stopping"))
            return
        if self.current is not None:
            self._again.append(done)
            return
        supervisor.notifier.reloading()
        logger.info("reloading")
        try:
            loaded = supervisor.load()
        except BuchnerError as error:
            self._reloaded(error, done)
            return
        self._deploy(loaded, lambda error: self._reloaded(error, done))

    def _reloaded(self, error: BuchnerError | None, done: Reply) -> None:
        supervisor = self._supervisor
        if error is None:
            logger.info("reloaded: %s", supervisor.workers.summary())
        else:
            log_refusal("reload", error)
        title = supervisor.title
        supervisor.notifier.ready(f"serving {title}" if error is None else f"reload refused: {error}"[:200])
        done(error)

    def _deploy(self, loaded: Loaded, done: Reply, *, replace_gateway: bool = False) -> None:
        supervisor = self._supervisor
        for warning in loaded.warnings:
            logger.warning("%s", warning)

        try:
            terms = terms_of(loaded.process)
        except BuchnerError as error:
            done(error)
            return
        ended = self._then(done)
        self.current = Deployment(supervisor, loaded, terms, replace_gateway=replace_gateway, done=ended)
        self.current.start()

    def renew(self, policies: Mapping[tuple[str, int], Mapping[str, Any]], done: Reply) -> None:
        """Put changed contents of TLS policies in force; only while nothing else is under way.

        Args:
            policies: By table of the plan and index in it, what of a policy is another.
            done: Told when it is, or why not.
        """
        self.current = Renewal(self._supervisor, policies, self._then(done))
        self.current.start()

    def _then(self, done: Reply) -> Reply:
        """What follows when the deployment has ended."""
        supervisor = self._supervisor

        def ended(error: BuchnerError | None) -> None:
            self.current = None
            _give_back_memory()
            if error is None:
                supervisor.in_force()
            done(error)
            waiting, self._again = self._again, []
            if waiting and not supervisor.stopping:
                supervisor.loop.call_later(0, lambda: self.reload(_to_all(waiting)))

        return ended

    def upgrade(self, done: Reply) -> None:
        """Replace this program, the gateway and the code by what is installed now."""
        if self.on_upgrade is None:
            done(BuchnerError("an upgrade is not possible here: the app exists only in the process that started it"))
        elif self._supervisor.stopping or self.current is not None:
            done(BuchnerError("a reload or a stop is under way; try again when it is done"))
        else:

            def ended(error: BuchnerError | None) -> None:
                if error is not None:
                    log_refusal("upgrade", error)
                done(error)

            self.on_upgrade(ended)


def _give_back_memory() -> None:
    """Return what was needed to read the configuration to the system.

    CPython frees a mebibyte of objects when none of them is left. Its caches have some of each reload: the free lists,
    and up to 4096 names of methods that were made anew for a look-up.
    """
    gc.collect()  # empties the free lists
    sys._clear_type_cache()  # noqa: SLF001 - what PyType_ClearCache() of the C API is called in Python
    native.give_back_memory()


def _to_all(waiting: list[Reply]) -> Reply:
    def reply(error: BuchnerError | None) -> None:
        for one in waiting:
            one(error)

    return reply


def heard(_error: BuchnerError | None) -> None:
    """Answer nobody: a signal asked."""


def log_refusal(what: str, error: BuchnerError) -> None:
    """Log why a reload or an upgrade was refused."""
    traceback = getattr(error, "traceback", "")
    logger.error("%s refused, nothing was changed: %s%s", what, error, f"\n{traceback}" if traceback else "")
