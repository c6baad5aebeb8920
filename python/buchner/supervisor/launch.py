"""Starting workers: with exec, or forked from a preload process that has imported the app."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from buchner import counts
from buchner.supervisor import channel
from buchner.supervisor.channel import Channel
from buchner.supervisor.child import DEFAULT_THREADS
from buchner.supervisor.identity import Identity
from buchner.supervisor.messages import Failed, Fork, FromWorker, Reopen, WorkerReady
from buchner.supervisor.process import Child, Reaper, dump_file, python_command
from buchner.supervisor.worker_process import WorkerProcess

if TYPE_CHECKING:
    from buchner.config.model import AppSettings
    from buchner.supervisor.loop import Loop


_MOST_MESSAGES = 100
"""Control messages a preload process may send within 10 s; one that is well sends one in its life."""
_PRELOAD_LEAVES_WITHIN = 5.0
"""Seconds a preload process has to end once no more workers are wanted of it."""
IN_WORKER = "BUCHNER_WORKER"
"""Environment variable that tells a program it is being imported by a worker."""


@dataclass
class Launcher:
    """What it takes to start processes; one for the supervisor's life.

    Args:
        loop: Watches their control sockets.
        reaper: Waits for them.
        worker_command: The program of a worker; tests put another one here.
        counts: Descriptor of the table that workers count rates in.
    """

    loop: Loop
    reaper: Reaper
    worker_command: Sequence[str] = field(default_factory=lambda: python_command("buchner.worker"))
    last_worker: int = 0
    counts: int = field(default_factory=counts.create)

    def next_worker(self) -> int:
        """A worker id that was never used."""
        self.last_worker += 1
        return self.last_worker


class WorkerSource(Protocol):
    """Makes the workers of one pool, of one generation of code."""

    def make(self) -> WorkerProcess:
        """Start a worker; its events come once the caller has set `events`."""

    def reopen(self, descriptors: Sequence[int]) -> None:
        """The workers to come write to this error log."""

    def close(self) -> None:
        """No more workers are wanted of this source."""


def arguments(settings: AppSettings, identity: Identity | None, *extra: str) -> list[str]:
    """The command line of a worker process, after the program."""
    words = ["--max-detached", str(settings.max_detached)]
    if settings.threads:
        words += ["--threads", str(settings.threads)]
    if settings.max_requests:
        words += ["--max-requests", str(settings.max_requests)]
    if settings.max_age:
        words += ["--max-age", str(settings.max_age)]
    if settings.max_rss:
        words += ["--max-rss", str(settings.max_rss)]
    if not settings.static:
        words.append("--no-static")
    if settings.static_precompressed:
        words.append("--static-precompressed")
    if identity is not None:
        words += ["--identity", identity.argument()]
    for directory in settings.pythonpath:
        words += ["--pythonpath", directory]
    return [*words, *extra, settings.target or "app"]


def environment(settings: AppSettings, identity: Identity | None) -> dict[str, str]:
    """The environment of a worker process: ours, less what is meant for the supervisor, plus `env`."""
    env = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_WORKERS}
    if identity is not None:
        env |= {"HOME": identity.home, "USER": identity.name, "LOGNAME": identity.name}
    return _ALLOCATOR | env | settings.env | {IN_WORKER: "1"}


def environment_of_gateway() -> dict[str, str]:
    """The environment of a gateway process: what interpreter, locale and allocator read, and no secret of an app."""
    return _ALLOCATOR | {name: value for name, value in os.environ.items() if _FOR_GATEWAYS.fullmatch(name)}


def environment_of_keeper() -> dict[str, str]:
    """The environment of the process that keeps certificates: ours, as proxies and DNS hooks are set there."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_FOR_WORKERS}


_NOT_FOR_WORKERS = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}
_FOR_GATEWAYS = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|TMP|TEMP|TZ|TZDIR|LANG|LANGUAGE|LC_\w+|LD_\w+|MIMALLOC_\w+|MALLOC_\w+|RUST_\w+"
    r"|PYTHON\w+|VIRTUAL_ENV|__PYVENV_LAUNCHER__|GCOV_\w+|LLVM_PROFILE_FILE|[A-Z]+SAN_OPTIONS"
)
_ALLOCATOR = {"MIMALLOC_ALLOW_THP": "0"}
"""The allocator of our native half does not ask for huge pages unless the user says so. Connections come and go in
kilobytes, and a page of two megabytes stays as long as one of them lives in it; in a worker the first of them would be
most of what Buchner takes beside the app."""


class ExecSource:
    """Starts each worker as a program of its own: it imports the code as it is then."""

    def __init__(self, launcher: Launcher, pool: str, settings: AppSettings, identity: Identity | None) -> None:
        self._launcher = launcher
        self._pool = pool
        self._settings = settings
        self._identity = identity

    def make(self) -> WorkerProcess:
        """Start a worker; raises OSError where the process cannot be started."""
        launcher = self._launcher
        number = launcher.next_worker()
        worker = WorkerProcess(
            number,
            self._pool,
            self._settings.threads or DEFAULT_THREADS,
            dump_file(f"worker-{number}"),
            launcher.loop,
            launcher.reaper,
        )
        ours, theirs = channel.pair()
        options = ["--control-fd", str(theirs.fileno()), "--dump-fd", str(worker.dump)]
        options += ["--counts-fd", str(launcher.counts)]
        with theirs:
            worker.child = launcher.reaper.spawn(
                str(worker),
                [*launcher.worker_command, *arguments(self._settings, self._identity, *options)],
                worker.ended,
                pass_fds=[theirs.fileno(), launcher.counts],
                dump=worker.dump,
                cwd=self._settings.chdir,
                env=environment(self._settings, self._identity),
                hold_signals=True,
            )
        worker.open(ours)
        return worker

    def reopen(self, descriptors: Sequence[int]) -> None:
        """They inherit it from the supervisor."""

    def close(self) -> None:
        """Nothing is kept between workers."""


class PreloadSource:
    """Forks workers from a process that imported the app once.

    Workers asked for before the app is imported are forked when it is; when the import fails, each of them fails.
    """

    def __init__(
        self,
        launcher: Launcher,
        pool: str,
        settings: AppSettings,
        identity: Identity | None,
        existing: tuple[socket.socket, int] | None = None,
    ) -> None:
        self._launcher = launcher
        self._pool = pool
        self._settings = settings
        self._imported = False
        self._failed: Failed | None = None
        self._waiting: list[WorkerProcess] = []
        self._sockets: dict[int, Any] = {}
        self._kept = existing is not None
        if existing is not None:
            ours, pid = existing
            self._child = launcher.reaper.adopt(Child(pid, f"preload of {pool}", lambda _status: None))
        else:
            ours, theirs = channel.pair()
            dump = dump_file(f"preload-{pool}")
            options = ["--preload", "--control-fd", str(theirs.fileno()), "--dump-fd", str(dump)]
            options += ["--counts-fd", str(launcher.counts)]
            with theirs:
                self._child = launcher.reaper.spawn(
                    f"preload of {pool}",
                    [*launcher.worker_command, *arguments(settings, identity, *options)],
                    lambda _status: self._child.close(),
                    pass_fds=[theirs.fileno(), launcher.counts],
                    dump=dump,
                    cwd=settings.chdir,
                    env=environment(settings, identity),
                    hold_signals=True,
                )
        self._channel = Channel(launcher.loop, ours, FromWorker, self._said, self._lost, self._breach, _MOST_MESSAGES)

    def make(self) -> WorkerProcess:
        """Have a worker forked, now or once the app is imported."""
        launcher = self._launcher
        number = launcher.next_worker()
        worker = WorkerProcess(
            number,
            self._pool,
            self._settings.threads or DEFAULT_THREADS,
            dump_file(f"worker-{number}"),
            launcher.loop,
            launcher.reaper,
        )
        worker.is_forked = True
        worker.importer = self._child
        ours, theirs = channel.pair()
        worker.open(ours)
        if self._imported and self._channel.is_open:
            self._channel.send(Fork(worker=number), [theirs.detach(), os.dup(worker.dump)])
        else:
            self._sockets[number] = theirs
            self._waiting.append(worker)
            if not self._channel.is_open:
                launcher.loop.call_later(0, self._lost)
        return worker

    def _said(self, message: Any) -> None:
        if isinstance(message, WorkerReady):
            self._imported = True
            waiting, self._waiting = self._waiting, []
            for worker in waiting:
                sock = self._sockets.pop(worker.number)
                self._channel.send(Fork(worker=worker.number), [sock.detach(), os.dup(worker.dump)])
        elif isinstance(message, Failed):
            self._failed = message

    def _breach(self, why: str) -> None:
        self._failed = Failed(error=f"the preload process broke the control protocol: {why}")
        self._child.kill()

    def _lost(self) -> None:
        failed = self._failed or Failed(error="the preload process ended")
        waiting, self._waiting = self._waiting, []
        for worker in waiting:
            worker.failed = failed
            if worker.events:
                worker.events.worker_failed(worker, failed)
            self._sockets.pop(worker.number).close()

    def reopen(self, descriptors: Sequence[int]) -> None:
        """They inherit it from the preload process."""
        self._channel.send(Reopen(), descriptors, close=False)

    def close(self) -> None:
        """Let the preload process end, if it is ours; its workers go on."""
        if self._kept:
            return
        self._channel.close()
        self._launcher.loop.call_later(_PRELOAD_LEAVES_WITHIN, self._child.kill)
        for worker in self._waiting:
            self._sockets.pop(worker.number).close()
        self._waiting = []
