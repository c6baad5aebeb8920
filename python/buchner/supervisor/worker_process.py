"""A worker process as the supervisor sees it."""

from __future__ import annotations

import enum
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Protocol

from buchner.supervisor import memfd
from buchner.supervisor.channel import Channel
from buchner.supervisor.messages import (
    Attach,
    Broken,
    Failed,
    Forked,
    FromWorker,
    Ping,
    Pong,
    Recycle,
    Reopen,
    Stop,
    Worker,
    WorkerReady,
)
from buchner.supervisor.process import Child, Reaper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from buchner.supervisor.gateway_process import GatewayProcess
    from buchner.supervisor.loop import Loop, Timer

_LONGEST_BEAT = 5.0
"""Most seconds between two pings."""
_AFTER_REQUESTS = 0.5
"""A request that holds the interpreter as long as that is noticed by the gateway, which can name it."""
_KILL_AFTER = 2.0
"""Seconds a worker has beyond its deadline, or the end of its control socket, to exit by itself."""
_PAIRS_AT_A_TIME = 60
"""Socket pairs that exist here until a packet takes them away; a packet holds 249 at most."""
_MOST_MESSAGES = 1000
"""Control messages a worker may send within 10 s; one that is well sends a handful in its life."""


class WorkerState(enum.Enum):
    """Where a worker is in its life; each state is only followed by later ones."""

    STARTING = 0
    READY = 1
    RETIRING = 2
    STOPPING = 3
    GONE = 4


class WorkerEvents(Protocol):
    """Who is told what happens to a worker."""

    def worker_ready(self, worker: WorkerProcess) -> None:
        """The app is imported."""

    def worker_failed(self, worker: WorkerProcess, failed: Failed) -> None:
        """The app could not be imported; the process is about to exit."""

    def worker_lost(self, worker: WorkerProcess, cause: str) -> None:
        """The worker can't serve any more, though its process runs."""

    def worker_recycles(self, worker: WorkerProcess, why: str) -> None:
        """The worker wants to be replaced."""

    def worker_ended(self, worker: WorkerProcess, status: int) -> None:
        """The process has ended."""


class WorkerProcess:
    """One worker process.

    Args:
        number: Its id, never reused.
        pool: Name of its pool.
        slots: Threads that serve requests.
    """

    def __init__(self, number: int, pool: str, slots: int, dump: int, loop: Loop, reaper: Reaper) -> None:
        self.number = number
        self.pool = pool
        self.slots = slots
        self.dump = dump
        self.state = WorkerState.STARTING
        self.started_at = time.monotonic()
        self.ready: WorkerReady | None = None
        self.events: WorkerEvents | None = None
        self.failed: Failed | None = None
        self.kill_reason: str | None = None
        """Why the supervisor killed it, for its epitaph."""
        self.hung: str | None = None
        """The request that hangs in it, in words; such a worker is killed, not stopped."""
        self.leave_within: float | None = None
        """Seconds it has to retire, where that differs from the pool's `stop_timeout`."""
        self.retire_by = 0.0
        self.was_leaving = False
        """Whether it was on its way out when it ended."""
        self.recycling = False
        """Whether a replacement is on its way."""
        self.child: Child | None = None
        self.importer: Child | None = None
        """The preload process that imports the app for it."""
        self.is_forked = False
        """Whether a preload process forks it: its first message is `forked` then."""
        self._loop = loop
        self._timers: set[Timer] = set()
        self._reaper = reaper
        self._channel: Channel | None = None
        self._asked_to_recycle = False
        self._asked_at: float | None = None
        """When it was sent the ping that it has not answered."""
        self._heart_looked_at = 0.0

    def __str__(self) -> str:
        return f"worker {self.number}"

    @property
    def pid(self) -> int:
        """The process id; 0 before a preload process has said it."""
        return self.child.pid if self.child else 0

    @property
    def channel(self) -> Channel:
        """The control channel."""
        if self._channel is None:
            raise RuntimeError("the worker was not started")
        return self._channel

    def open(self, sock: socket.socket) -> None:
        """Watch our end of its control socket."""
        self._channel = Channel(
            self._loop, sock, FromWorker, self._said, self._at_end_of_file, self._breach, _MOST_MESSAGES
        )

    def _said(self, message: Any) -> None:
        if isinstance(message, Forked):
            self._forked()
        elif self.child is None:
            self._breach("a message before `forked`")
        elif isinstance(message, WorkerReady):
            if self.state is WorkerState.STARTING and self.ready is None:
                self.ready = message
                self.slots = min(message.slots or self.slots, self.slots)
                self.state = WorkerState.READY
                if self.events:
                    self.events.worker_ready(self)
        elif isinstance(message, Failed):
            if self.state is WorkerState.STARTING and self.failed is None:
                self.failed = message
                if self.events:
                    self.events.worker_failed(self, message)
        elif isinstance(message, Pong):
            self._asked_at = None
        elif isinstance(message, Broken) and self.events:
            self.events.worker_lost(self, message.cause)
        elif isinstance(message, Recycle) and self.events and not self._asked_to_recycle:
            self._asked_to_recycle = True
            self.events.worker_recycles(self, message.why)

    def _forked(self) -> None:
        """The worker exists, and which process it is the kernel has said: believed once, of a child nobody knows."""
        pid = self.channel.sender
        if not self.is_forked or self.child is not None:
            self._breach("`forked`, which it is not to say")
        elif not self._reaper.is_stranger(pid):
            self._breach(f"`forked` from process {pid}, which is not the child that was forked")
        else:
            self.child = self._reaper.adopt(Child(pid, str(self), self.ended, self.dump))

    def _breach(self, why: str) -> None:
        """It does not keep to the protocol: nothing it says is heard any more."""
        self.channel.close()
        self.kill(f"it broke the control protocol: {why}")

    def _at_end_of_file(self) -> None:
        if self.child is None:  # the preload process ended before it forked this worker
            self.ended(1)
        elif self.events and self.state in (WorkerState.READY, WorkerState.RETIRING):
            self.events.worker_lost(self, "it closed its control socket")
        else:
            self.later(_KILL_AFTER, lambda: self.kill("it closed its control socket"))

    def ended(self, status: int) -> None:
        """Note the end of the process."""
        if self._channel is not None:
            self._channel.take()  # what it said last
            self._channel.close()
        if self.state is WorkerState.GONE:
            return
        self.was_leaving = self.state in (WorkerState.RETIRING, WorkerState.STOPPING)
        self.state = WorkerState.GONE
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self.events:
            self.events.worker_ended(self, status)
        if self.child is not None:
            self.child.close()
        elif self.dump >= 0:
            os.close(self.dump)
        self.dump = -1

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back unless the process has ended by then: a timer keeps the worker, and with it its pool."""

        def due() -> None:
            self._timers.discard(timer)
            callback()

        timer = self._loop.call_later(seconds, due)
        self._timers.add(timer)

    def attach(self, gateway: GatewayProcess) -> None:
        """Make the sockets between this worker and a gateway, and send both their ends.

        Raises:
            OSError: There are no descriptors left.
        """
        if self.state is not WorkerState.READY or self.number in gateway.attached:
            return
        per_packet = max(1, _PAIRS_AT_A_TIME // gateway.io_threads)
        gateway.known.add(self.number)
        claims = memfd.claims()
        try:
            for first in range(0, self.slots, per_packet):
                count = min(per_packet, self.slots - first)
                theirs, workers = _pairs(count * gateway.io_threads)
                attach = Attach(
                    gateway=gateway.number, slots=self.slots, io_threads=gateway.io_threads, first_slot=first,
                    pid=gateway.pid,
                )  # fmt: skip
                self.channel.send(attach, [os.dup(claims), *workers])
                message = Worker(pool=self.pool, worker=self.number, pid=self.pid, slots=self.slots, first_slot=first)
                gateway.send(message, [os.dup(claims), *theirs])
        finally:
            os.close(claims)
        gateway.attached.add(self.number)

    def ask_alive(self, seconds: float, silent: Callable[[], None]) -> None:
        """Call back when the main thread does not answer within `seconds`: C code holds the interpreter."""
        asked_at = self._ping()

        def look() -> None:
            if self._asked_at == asked_at and self.state is WorkerState.READY:
                silent()

        self.later(seconds, look)

    def _ping(self) -> float:
        """Send a ping, unless one is not answered yet; returns when that was sent."""
        if self._asked_at is None and self._channel is not None:
            self._asked_at = time.monotonic()
            self._channel.send(Ping())
        return self._asked_at or 0.0

    def watch_heart(self, seconds: float, silent: Callable[[], None]) -> None:
        """Call back, once, when the main thread has not run for `seconds`.

        The process is stopped then, or C code holds its interpreter. It is asked over the control socket, so that this
        also works for workers from before an upgrade.
        """
        every = min(seconds / 4, _LONGEST_BEAT)

        def look() -> None:
            if self.state is not WorkerState.READY:
                return
            now = time.monotonic()
            if self._asked_at is not None and now - self._heart_looked_at > 2 * every:
                self._asked_at = now  # this process was stopped as well, or very busy
            self._heart_looked_at = now
            if now - self._ping() >= seconds + _AFTER_REQUESTS:
                silent()
            else:
                self.later(every, look)

        self._heart_looked_at = time.monotonic()
        self.later(every, look)

    def reopen(self, descriptors: Sequence[int]) -> None:
        """Have it write to a new error log."""
        if self._channel is not None:
            self._channel.send(Reopen(), descriptors, close=False)

    def stop(self, seconds: float, reason: str = "it did not finish its requests in time") -> None:
        """Let it finish running requests within `seconds`, then exit; kill it when it does not."""
        if self.state in (WorkerState.STOPPING, WorkerState.GONE):
            return
        self.state = WorkerState.STOPPING
        if self._channel is not None:
            self._channel.send(Stop(deadline_ms=int(seconds * 1000)))
        self.later(seconds + _KILL_AFTER, lambda: self.kill(reason))

    def kill(self, reason: str) -> None:
        """Kill it; `reason` is what the log says."""
        if self.state is WorkerState.GONE:
            return
        self.kill_reason = self.kill_reason or reason
        if self.child is not None:
            self.child.kill(signal.SIGKILL)
        else:
            self.later(0, self._give_up)

    def _give_up(self) -> None:
        """Kill it if it exists by now; a worker that no process was forked for ends here."""
        if self.child is not None:
            self.child.kill(signal.SIGKILL)
        else:
            self.ended(-signal.SIGKILL)


def _pairs(count: int) -> tuple[list[int], list[int]]:
    """Make socket pairs: all, or none and OSError."""
    pairs: list[tuple[socket.socket, socket.socket]] = []
    try:
        pairs.extend(socket.socketpair() for _ in range(count))
    except OSError:
        for left, right in pairs:
            left.close()
            right.close()
        raise
    return [left.detach() for left, _ in pairs], [right.detach() for _, right in pairs]
