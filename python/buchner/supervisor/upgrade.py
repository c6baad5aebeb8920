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

from buchner.config import native
from buchner.errors import BuchnerError, UpgradeError
from buchner.supervisor import logs
from buchner.supervisor.child import STACKS_SIGNAL
from buchner.supervisor.identity import of_workers
from buchner.supervisor.launch import arguments, environment
from buchner.supervisor.process import Child, dump_file, python_command
from buchner.supervisor.state import State

if TYPE_CHECKING:
    from buchner.config import Loaded
    from buchner.supervisor.state import UpgradeHost

logger = logging.getLogger("buchner")

_STATE = "BUCHNER_UPGRADE_STATE"
_CHECK = "BUCHNER_UPGRADE_CHECK"
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

    def __init__(self, supervisor: UpgradeHost) -> None:
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
        state = State.of(supervisor)
        fd = os.memfd_create("buchner-state", 0)
        os.write(fd, msgspec.json.encode(state))
        for inherited in [fd, *state.descriptors()]:
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
            for inherited in state.descriptors():
                os.set_inheritable(inherited, False)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            done(UpgradeError(f"{sys.executable} could not be executed: {error}"))


def _command() -> list[str]:
    """The command line this process was started with (`sys.orig_argv`), to be run by the same interpreter."""
    return [sys.executable, *sys.orig_argv[1:]]
