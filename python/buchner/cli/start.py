"""Starting the supervisor in this process: what `serve`, `run` and the Python API have in common."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buchner.errors import BuchnerError
from buchner.supervisor import logs
from buchner.supervisor.control import ControlServer
from buchner.supervisor.pid_file import PidFile
from buchner.supervisor.registry import Instance
from buchner.supervisor.supervisor import Options, Supervisor
from buchner.supervisor.upgrade import Upgrade, check_apps, check_only, die_with_supervisor, inherited_state
from buchner.supervisor.watch import Watcher

if TYPE_CHECKING:
    from buchner.config import Loaded

READY_FD = "BUCHNER_READY_FD"
"""Environment variable of a descriptor that gets one JSON line once the service accepts (`Gateway.start`)."""
LIFELINE_FD = "BUCHNER_LIFELINE_FD"
"""Environment variable of a descriptor whose end of file stops the service: who started it is gone."""
PRELOAD = "BUCHNER_PRELOAD_PROCESS"
"""Environment variable with control socket and pid of a process that forks workers (`Gateway.start`)."""


def run(  # noqa: PLR0913 - what the ways to start differ in
    load: Callable[[], Loaded],
    title: str,
    *,
    config_file: str = "",
    watch: bool = False,
    preload: tuple[socket.socket, int] | None = None,
    nginx: bool = False,
    error_log: str | None = None,
    remark: Callable[[], str] = str,
) -> int:
    """Serve until told to stop; returns the exit status.

    Args:
        load: Reads the configuration; called again at each reload.
        title: What is served: an app's target or a file.
        config_file: The file, where there is one.
        watch: Reload when a file of the app changes.
        preload: See `Options`.
        nginx: See `Options`; and nothing is said when all is well.
        remark: What to say after the line of the start, if anything.
        error_log: Where a start that fails is noted as well, if the configuration names no error log.

    Raises:
        BuchnerError: It could not start.
    """
    startup = Startup(load, title, config_file=config_file, watch=watch, preload=preload, nginx=nginx, remark=remark)
    try:
        return startup.run()
    except BuchnerError as error:
        if not check_only():
            logs.record_failure(error, error_log)
        raise
    finally:
        logs.flush()


@dataclass
class Startup:
    """One start: from the configuration to a supervisor that runs. The arguments are those of `run`."""

    load: Callable[[], Loaded]
    title: str
    config_file: str = ""
    watch: bool = False
    preload: tuple[socket.socket, int] | None = None
    nginx: bool = False
    remark: Callable[[], str] = str

    def run(self) -> int:
        """Serve, or only check for an upgrade; returns the exit status."""
        logs.set_up()
        if check_only():
            die_with_supervisor()
            check_apps(self.load())
            return 0
        self._first = [self.load()]
        self._process = self._first[0].process
        logs.set_up(self._process.error_log)
        self._state = inherited_state()
        if self._process.daemon and self._state is None:
            to_the_background(leave_output=self.nginx)
        self._pid_file = PidFile(self._process.pid_file)
        self._ready_fd, lifeline = _take_fd(READY_FD), _take_fd(LIFELINE_FD)
        supervisor = self._supervisor()
        if lifeline is not None:
            supervisor.hold_lifeline(lifeline)
        self._pid_file.check()
        return supervisor.run(self._state)

    def _supervisor(self) -> Supervisor:
        supervisor = Supervisor(
            Options(
                load=lambda: self._first.pop() if self._first else self.load(),
                title=self.title,
                on_serving=self._serving,
                preload=self.preload,
                nginx=self.nginx,
            )
        )
        if self.preload is None:
            supervisor.deployments.on_upgrade = Upgrade(supervisor).start
        return supervisor

    def _serving(self, supervisor: Supervisor) -> None:
        """The first configuration is in force: be found, and tell whoever waits for it."""
        encrypted = supervisor.loaded.encrypted if supervisor.loaded else frozenset()
        listeners = supervisor.listeners.values()
        urls = [listener.url(encrypted=listener.address in encrypted) for listener in listeners]
        file = self.config_file and str(Path(self.config_file).resolve())
        control = ControlServer(supervisor, Instance(os.getpid(), self.title, file, os.getcwd(), urls))
        control.open()
        self._pid_file.write()
        supervisor.at_exit += [control.close, self._pid_file.remove]
        if not (self.nginx and self._process.daemon):
            _greet(self.title, urls, supervisor, again=self._state is not None)
            if self._state is None and (remark := self.remark()):
                logs.say(remark)
        logs.leave_terminal()
        if self._ready_fd is not None:
            os.write(self._ready_fd, json.dumps({"urls": urls}).encode() + b"\n")
            os.close(self._ready_fd)
        if self.watch:
            Watcher(supervisor, _watched(supervisor, self.config_file)).start()


def take_preload() -> tuple[socket.socket, int] | None:
    """The process that forks workers, which `Gateway.start` left for us."""
    text = os.environ.pop(PRELOAD, None)
    if text is None:
        return None
    fd, pid = map(int, text.split(":"))
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock, pid


def _take_fd(name: str) -> int | None:
    text = os.environ.pop(name, None)
    if text is None:
        return None
    fd = int(text)
    os.set_inheritable(fd, False)
    return fd


def _greet(title: str, urls: list[str], supervisor: Supervisor, *, again: bool) -> None:
    from buchner import __version__

    word = "upgraded, serving" if again else "serving"
    logs.say(f"Buchner {__version__} {word} {title} on {' and '.join(urls)} ({supervisor.workers.summary()})")


def _watched(supervisor: Supervisor, config_file: str) -> list[str]:
    loaded = supervisor.loaded
    directories = {settings.chdir or os.getcwd() for settings in loaded.app.values()} if loaded else {os.getcwd()}
    return [*sorted(directories), *([config_file] if config_file else [])]


def to_the_background(*, leave_output: bool = False) -> None:
    """Go on in a child that has no terminal; this process waits until that one serves, and exits as it would.

    The child tells with the ready descriptor; its working directory and its standard error stay, for messages.

    Args:
        leave_output: The child has no standard output, as with nginx.
    """
    ready, ready_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ready)
        os.setsid()
        if leave_output:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, 0)
            os.dup2(nothing, 1)
            os.close(nothing)
        os.environ[READY_FD] = str(ready_end)
        return
    os.close(ready_end)
    if os.read(ready, 1):
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    os._exit(max(1, os.waitstatus_to_exitcode(status)))
