"""`buchner upgrade`: this program, the gateway and the code are replaced by what is installed now; nothing is lost.

1. The same command line is run once more in a process of its own, which reads the configuration and imports the apps
   with the new code, and says whether that works. If not, nothing has changed.
2. This process executes the new program in its place: the pid stays, and so do the listeners, the control sockets of
   gateway and workers, and all that runs. What the new program has to know is in a memfd.
3. The new program takes everything over, then makes a deployment (deployment.py) with a new gateway: when that serves,
   the old gateway drains and the old workers end. If the deployment fails, the old ones go on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from buchner.config import AppSettings, ProcessSettings, native
from buchner.errors import BuchnerError, UpgradeError
from buchner.supervisor import logs
from buchner.supervisor.child import STACKS_SIGNAL
from buchner.supervisor.identity import of_workers
from buchner.supervisor.launch import arguments, environment
from buchner.supervisor.process import Child, dump_file, python_command
from buchner.supervisor.sealed_plan import SealedPlan
from buchner.supervisor.worker_process import WorkerState

if TYPE_CHECKING:
    from buchner.config import Loaded
    from buchner.supervisor.supervisor import Supervisor

logger = logging.getLogger("buchner")

_STATE = "BUCHNER_UPGRADE_STATE"
_CHECK = "BUCHNER_UPGRADE_CHECK"
_VERSION = 1
_STACKS_SECONDS = 0.5
_CHECK_SECONDS = 60.0
"""What the check has besides the `start_timeout` of the apps."""
_FLUSH_SECONDS = 10.0
"""What gateways and workers have to read what they were sent, before the new version is executed."""
_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
    signal.SIGWINCH,
)


class SavedListener(msgspec.Struct):
    """A listening socket."""

    address: str
    fd: int
    inode: tuple[int, int] | None


class SavedGateway(msgspec.Struct):
    """A gateway process."""

    number: int
    io_threads: int
    fd: int
    pid: int
    dump: int
    attached: list[int]
    current: bool


class SavedWorker(msgspec.Struct):
    """A worker process."""

    number: int
    pool: str
    slots: int
    fd: int
    pid: int
    dump: int
    ready: bool
    leaving: bool = False
    """It is to finish what it runs, and to end."""
    recycling: bool = False
    """Its replacement is on the way."""
    hung: str | None = None


class State(msgspec.Struct):
    """What the new program takes over."""

    version: int
    listeners: list[SavedListener]
    gateways: list[SavedGateway]
    workers: list[SavedWorker]
    plan: SealedPlan
    apps: dict[str, AppSettings]
    process: ProcessSettings
    last_worker: int
    last_gateway: int
    started_at: float
    asker: int
    last_plan: int = 0


def inherited_state() -> State | None:
    """What the program before this one left for us; taken out of the environment."""
    text = os.environ.pop(_STATE, "")
    pid, _, fd = text.partition(":")
    if pid != str(os.getpid()):
        return None
    with os.fdopen(int(fd), "rb") as file:
        file.seek(0)
        return msgspec.json.decode(file.read(), type=State)


def check_only(environ: Any = os.environ) -> bool:
    """Whether this process only has to find out if the new code works (step 1)."""
    return environ.get(_CHECK) is not None


def die_with_supervisor(environ: Any = os.environ) -> None:
    """Have the kernel kill this check when the supervisor ends, which may have been just now."""
    native.die_with_parent(True)
    if environ.get(_CHECK) != str(os.getppid()):
        sys.exit(1)


def check_apps(loaded: Loaded) -> None:
    """Import each app in a process of its own.

    Raises:
        UpgradeError: One cannot be imported.
    """
    for name, settings in loaded.app.items():
        identity = of_workers(settings, loaded.process)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            dump = dump_file("check")
            options = ["--check", "--control-fd", str(theirs.fileno()), "--dump-fd", str(dump)]
            process = subprocess.Popen(
                [*python_command("buchner.worker"), *arguments(settings, identity, *options)],
                pass_fds=[theirs.fileno(), dump],
                cwd=settings.chdir,
                env=environment(settings, identity),
            )
            try:
                status = process.wait(settings.start_timeout)
            except subprocess.TimeoutExpired:
                stacks = _stacks(process, dump)
                raise UpgradeError(
                    f"app {name}: still importing after start_timeout ({settings.start_timeout:g} s)\n{stacks}".rstrip()
                ) from None
            finally:
                os.close(dump)
            ours.setblocking(False)
            try:
                said = msgspec.json.decode(ours.recv(1 << 18))
            except (OSError, msgspec.DecodeError):
                said = {}
        if status != 0:
            reason = said.get("error", f"the process ended with status {status}")
            raise UpgradeError(f"app {name}: {reason}\n{said.get('traceback', '')}".rstrip())


def _stacks(process: subprocess.Popen[bytes], dump: int) -> str:
    """Where a process is that imports an app for too long; it is killed."""
    process.send_signal(STACKS_SIGNAL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STACKS_SECONDS)
    process.kill()
    process.wait()
    return os.pread(dump, 1 << 16, 0).decode(errors="replace")


class Upgrade:
    """The first half: check, save, execute."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._running = False

    def start(self, done: Callable[[BuchnerError | None], None]) -> None:
        """Begin; `done` is only called when the upgrade is refused: otherwise the new program answers."""
        if self._running:
            done(UpgradeError("an upgrade is under way already"))
            return
        self._running = True
        logger.info("upgrade: checking the new version")
        output = os.memfd_create("buchner-upgrade-check")
        loaded = self._supervisor.loaded
        limits = [settings.start_timeout for settings in loaded.app.values()] if loaded else []
        seconds = _CHECK_SECONDS + sum(limits)

        def checked(status: int) -> None:
            self._running = False
            text = os.pread(output, 1 << 16, 0).decode(errors="replace").strip()
            os.close(output)
            if status != 0:
                late = time.monotonic() - begun >= seconds
                words = f"did not end its check within {seconds:g} s" if late else "did not pass its check"
                done(UpgradeError(f"the new version {words}:\n{text}"))
            elif self._supervisor.stopping or self._supervisor.deployments.current is not None:
                done(UpgradeError("a reload or a stop has begun meanwhile; try again when it is done"))
            else:
                self._execute(done, time.monotonic() + _FLUSH_SECONDS)

        environ = {**os.environ, _CHECK: str(os.getpid())}
        for name in ("NOTIFY_SOCKET", "LISTEN_PID"):
            environ.pop(name, None)
        begun = time.monotonic()
        try:
            check: Child = self._supervisor.reaper.spawn(
                "upgrade check", _command(), checked, env=environ, output=output
            )
        except OSError as error:
            self._running = False
            done(UpgradeError(f"the check could not be started: {error}"))
        else:
            self._supervisor.loop.call_later(seconds, check.kill)

    def _execute(self, done: Callable[[BuchnerError | None], None], until: float) -> None:
        supervisor = self._supervisor
        channels = [gateway.channel for gateway in supervisor.gateways.all.values()]
        channels += [worker.channel for worker in supervisor.workers.all()]
        if not all(channel.is_flushed for channel in channels):
            if time.monotonic() >= until:
                done(UpgradeError("a gateway or a worker does not read what it is told: it is stopped, or hangs"))
            elif supervisor.stopping:
                done(UpgradeError("Buchner is stopping"))
            else:
                supervisor.loop.call_later(0.05, lambda: self._execute(done, until))
            return
        logger.info("upgrade: executing the new version")
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        state = self._save()
        fd = os.memfd_create("buchner-state", 0)
        os.write(fd, msgspec.json.encode(state))
        for inherited in [fd, *_descriptors(state)]:
            os.set_inheritable(inherited, True)
        os.environ[_STATE] = f"{os.getpid()}:{fd}"
        logs.flush()
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            command = _command()
            os.execv(command[0], command)
        except OSError as error:
            os.environ.pop(_STATE, None)
            os.close(fd)
            for inherited in _descriptors(state):
                os.set_inheritable(inherited, False)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            done(UpgradeError(f"{sys.executable} could not be executed: {error}"))

    def _save(self) -> State:
        supervisor = self._supervisor
        loaded, force = supervisor.loaded, supervisor.gateways.force
        if loaded is None or force is None:
            raise RuntimeError("nothing is in force")
        asker = supervisor.upgrade_asker
        leaving = {number for pool in supervisor.workers.leaving for number in pool.workers}
        return State(
            version=_VERSION,
            listeners=[
                SavedListener(listener.address, listener.socket.fileno(), listener.inode)
                for listener in supervisor.listeners.values()
            ],
            gateways=[
                SavedGateway(
                    gateway.number,
                    gateway.io_threads,
                    gateway.channel.fileno(),
                    gateway.pid,
                    gateway.child.dump if gateway.child else -1,
                    sorted(gateway.attached),
                    gateway is supervisor.gateways.current,
                )
                for gateway in supervisor.gateways.all.values()
                if gateway.channel.is_open
            ],
            workers=[
                SavedWorker(
                    worker.number,
                    worker.pool,
                    worker.slots,
                    worker.channel.fileno(),
                    worker.pid,
                    worker.dump,
                    worker.ready is not None,
                    worker.state in (WorkerState.RETIRING, WorkerState.STOPPING) or worker.number in leaving,
                    worker.recycling,
                    worker.hung,
                )
                for worker in supervisor.workers.all()
                if worker.channel.is_open and worker.pid
            ],
            plan=force.plan,
            apps=loaded.app,
            process=loaded.process,
            last_worker=supervisor.launcher.last_worker,
            last_gateway=supervisor.gateways.last_number,
            started_at=supervisor.started_at,
            asker=asker.fileno() if asker is not None else -1,
            last_plan=supervisor.gateways.last_plan,
        )


def _descriptors(state: State) -> list[int]:
    found = [listener.fd for listener in state.listeners]
    for gateway in state.gateways:
        found += [gateway.fd, gateway.dump]
    for worker in state.workers:
        found += [worker.fd, worker.dump]
    return [fd for fd in [*found, state.plan.fd, state.asker] if fd >= 0]


def _command() -> list[str]:
    """The command line this process was started with (`sys.orig_argv`), to be run by the same interpreter."""
    return [sys.executable, *sys.orig_argv[1:]]
