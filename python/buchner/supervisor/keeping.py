"""The process that keeps certificates, started if some are to be kept, replaced when it dies.

It speaks to authorities and name servers, so what it says is checked like what a worker says.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from buchner.supervisor import channel
from buchner.supervisor.channel import Channel
from buchner.supervisor.launch import environment_of_keeper
from buchner.supervisor.memfd import sealed
from buchner.supervisor.messages import Challenged, Challenges, FromKeeper, Issued, Reopen
from buchner.supervisor.pool import LONGEST_PAUSE, Backoff
from buchner.supervisor.process import Child, MemoryEvents, Reaper, cause, dump_file, python_command

if TYPE_CHECKING:
    from buchner.config.model import KeptCertificates
    from buchner.supervisor.loop import Loop

logger = logging.getLogger("buchner")

_MOST_MESSAGES = 2000
"""Control messages it may send within 10 s: two for each challenge, one for each certificate that is on the disk."""
_LEAVES_WITHIN = 5.0
"""Seconds it has to end once its socket is closed."""


class KeepingHost(Protocol):
    """The supervisor, as the keeper's process needs it."""

    loop: Loop
    reaper: Reaper
    memory: MemoryEvents
    stopping: bool

    def set_challenges(self, http: Mapping[str, str], done: Callable[[], None]) -> None:
        """Have the gateways respond to these tokens, and no others."""

    def certificate_issued(self, name: str) -> None:
        """A certificate is on the disk."""


class CertificateKeeper:
    """The process, or that there is none."""

    def __init__(self, supervisor: KeepingHost, command: Sequence[str] | None = None) -> None:
        self._supervisor = supervisor
        self._command = list(command or python_command("buchner.certificates"))
        self._kept: KeptCertificates | None = None
        self._child: Child | None = None
        self._channel: Channel | None = None
        self._backoff = Backoff()
        self._started_at = 0.0

    @property
    def pid(self) -> int:
        """The process id; 0: there is none."""
        return self._child.pid if self._child is not None else 0

    def follow(self, kept: KeptCertificates | None) -> None:
        """Keep what the configuration in force says; other settings take another process."""
        kept = kept if kept is not None and kept.names else None
        if kept == self._kept:
            return
        self.close()
        self._kept = kept
        if kept is not None:
            self._start()

    def _start(self) -> None:
        supervisor = self._supervisor
        if self._kept is None or self._child is not None or supervisor.stopping:
            return
        self._started_at = time.monotonic()
        ours, theirs = channel.pair()
        dump = dump_file("keeper")
        settings = sealed("certificates", msgspec.json.encode(self._kept))
        words = ["--control-fd", str(theirs.fileno()), "--settings-fd", str(settings), "--dump-fd", str(dump)]
        theirs.set_inheritable(True)
        try:
            with theirs, open(settings, "rb"):
                child = supervisor.reaper.spawn(
                    "keeper of certificates",
                    [*self._command, *words],
                    lambda status: self._ended(child, status),
                    pass_fds=[theirs.fileno(), settings],
                    dump=dump,
                    env=environment_of_keeper(),
                )
        except OSError as error:
            ours.close()
            logger.error("the keeper of certificates could not be started: %s", error)  # noqa: TRY400 - words, no frames
            supervisor.loop.call_later(self._backoff.pause(0.0) or 1.0, self._start)
            return
        self._child = child
        self._channel = Channel(
            supervisor.loop, ours, FromKeeper, self._said, lambda: None, self._breach, _MOST_MESSAGES
        )

    def _said(self, message: Any) -> None:
        supervisor = self._supervisor
        if isinstance(message, Challenges):
            supervisor.set_challenges(message.http, partial(self._confirm, self._channel, message.id))
        elif isinstance(message, Issued):
            supervisor.certificate_issued(message.name)

    @staticmethod
    def _confirm(asker: Channel | None, number: int) -> None:
        if asker is not None:
            asker.send(Challenged(id=number))

    def _breach(self, why: str) -> None:
        if self._child is not None:
            logger.error("the keeper of certificates (pid %d) broke the control protocol: %s", self.pid, why)
            self._child.kill()

    def _ended(self, child: Child, status: int) -> None:
        stacks = child.take_dump()
        child.close()
        if child is not self._child:
            return  # it was told to end
        self._drop()
        if self._supervisor.stopping:
            return
        why = cause(status, child.pid, self._supervisor.memory)
        more = f"\n{stacks}" if stacks else ""
        logger.error("the keeper of certificates (pid %d) %s; starting another%s", child.pid, why, more)
        pause = self._backoff.pause(time.monotonic() - self._started_at, LONGEST_PAUSE)
        self._supervisor.loop.call_later(pause, self._start)

    def _drop(self) -> None:
        """Let go of a process; the gateways forget its challenges."""
        self._child = None
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self._supervisor.set_challenges({}, lambda: None)

    def reopen(self, descriptors: Sequence[int]) -> None:
        """Write to this error log."""
        if self._channel is not None:
            self._channel.send(Reopen(), descriptors, close=False)

    def close(self) -> None:
        """End the process, if there is one."""
        self._kept = None
        child = self._child
        if child is not None:
            self._drop()
            self._supervisor.loop.call_later(_LEAVES_WITHIN, child.kill)
