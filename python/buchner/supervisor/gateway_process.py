"""A gateway process as the supervisor sees it."""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from buchner.supervisor import channel
from buchner.supervisor.channel import Channel
from buchner.supervisor.messages import (
    Challenges,
    Drain,
    FromGateway,
    Gone,
    Listen,
    Message,
    Plan,
    Reopen,
    Retire,
    StatusQuestion,
)
from buchner.supervisor.process import Child, Reaper, dump_file

if TYPE_CHECKING:
    from buchner.supervisor.identity import Identity
    from buchner.supervisor.listeners import Listener
    from buchner.supervisor.loop import Loop
    from buchner.supervisor.sealed_plan import SealedPlan


_KILL_AFTER = 5.0
"""Seconds a gateway that closed its control socket has to exit by itself."""


class GatewayState(enum.Enum):
    """Where a gateway is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    GONE = "gone"


class GatewayEvents(Protocol):
    """Who is told what a gateway says."""

    def gateway_said(self, gateway: GatewayProcess, message: Any) -> None:
        """A message other than `hello` came."""

    def gateway_ended(self, gateway: GatewayProcess, status: int) -> None:
        """The process has ended."""


class GatewayProcess:
    """One gateway process: its control channel, and which workers it has.

    Args:
        number: Its id, never reused.
        child: The process.
        io_threads: How many I/O threads it was made for.
    """

    def __init__(self, number: int, io_threads: int, events: GatewayEvents) -> None:
        self.number = number
        self.io_threads = io_threads
        self.state = GatewayState.STARTING
        self.started_at = time.monotonic()
        self.attached: set[int] = set()
        """Ids of the workers it may give requests to."""
        self.known: set[int] = set()
        """Ids of the workers it was ever given and that have not ended."""
        self.addresses: set[str] = set()
        """Keys of the listeners it was sent."""
        self.serving_since: float | None = None
        self.has_drained = False
        self.child: Child | None = None
        self._channel: Channel | None = None
        self._events = events

    def start(
        self, reaper: Reaper, loop: Loop, command: Sequence[str], identity: Identity | None, env: dict[str, str]
    ) -> None:
        """Start the process; raises OSError where that is not possible."""
        ours, theirs = channel.pair()
        dump = dump_file(f"gateway-{self.number}")
        words = [*command, "--control-fd", str(theirs.fileno()), "--dump-fd", str(dump)]
        if identity is not None:
            words += ["--identity", identity.argument()]
        with theirs:
            self.child = reaper.spawn(
                f"gateway {self.number}", words, self._ended, pass_fds=[theirs.fileno()], dump=dump, env=env
            )
        self._open(loop, ours)

    def adopt(self, reaper: Reaper, loop: Loop, sock: Any, pid: int, dump: int) -> None:
        """Take over a gateway that the supervisor before an upgrade had started."""
        self.child = reaper.adopt(Child(pid, f"gateway {self.number}", self._ended, dump))
        self.state = GatewayState.DRAINING  # unless it is promoted
        self._open(loop, sock)

    def _open(self, loop: Loop, sock: Any) -> None:
        def gone() -> None:
            if self.state in (GatewayState.STARTING, GatewayState.SERVING) and self.child is not None:
                loop.call_later(_KILL_AFTER, self.child.kill)

        self._channel = Channel(loop, sock, FromGateway, self._said, gone)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.child.pid if self.child else 0

    @property
    def is_usable(self) -> bool:
        """Whether it can be sent a plan and workers."""
        return self.state in (GatewayState.STARTING, GatewayState.SERVING) and self._channel is not None

    @property
    def channel(self) -> Channel:
        """The control channel."""
        if self._channel is None:
            raise RuntimeError("the gateway was not started")
        return self._channel

    def _said(self, message: Any) -> None:
        self._events.gateway_said(self, message)

    def _ended(self, status: int) -> None:
        if self._channel is not None:
            self._channel.take()  # what it said last
            self._channel.close()
        self.state = GatewayState.GONE
        self._events.gateway_ended(self, status)
        if self.child is not None:
            self.child.close()

    def send(self, message: Message, descriptors: Sequence[int] = (), *, close: bool = True) -> None:
        """Send a message, see `Channel.send`."""
        if self._channel is not None:
            self._channel.send(message, descriptors, close=close)

    def listen(self, listener: Listener) -> None:
        """Send a listening socket, once."""
        if listener.address not in self.addresses:
            self.addresses.add(listener.address)
            self.send(Listen(address=listener.address), [listener.socket.fileno()], close=False)

    def plan(self, number: int, plan: SealedPlan) -> None:
        """Send a plan; answered by `ready` or `refused` with this number."""
        self.send(Plan(id=number), [plan.duplicate()])

    def retire(self, worker: int) -> None:
        """Give a worker no new request."""
        self.send(Retire(worker=worker))

    def gone(self, worker: int, cause: str) -> None:
        """Say that a worker's process has ended."""
        self.attached.discard(worker)
        if worker in self.known:
            self.known.discard(worker)
            self.send(Gone(worker=worker, cause=cause))

    def drain(self, seconds: float) -> None:
        """Stop accepting, finish what runs within `seconds`, exit."""
        if self.state is not GatewayState.GONE:
            self.state = GatewayState.DRAINING
            self.send(Drain(deadline_ms=int(seconds * 1000)))

    def dismiss(self, loop: Loop) -> None:
        """End a gateway that never served."""
        self.drain(0)
        self.channel.close()
        if self.child is not None:
            loop.call_later(_KILL_AFTER, self.child.kill)

    def reopen(self, descriptors: Sequence[int]) -> None:
        """Reopen the log files; the descriptor is the new error log, where that is a file."""
        self.send(Reopen(), descriptors, close=False)

    def challenges(self, number: int, http: Mapping[str, str]) -> None:
        """Send the responses to challenges; answered by `challenged` with this number."""
        self.send(Challenges(id=number, http=dict(http)))

    def ask_status(self, number: int) -> None:
        """Ask for counters."""
        self.send(StatusQuestion(id=number))
