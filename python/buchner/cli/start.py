"""Starting the supervisor in this process: what `serve`, `run` and the Python API have in common."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buchner.errors import BuchnerError
from buchner.supervisor import logs
from buchner.supervisor.control import ControlServer
from buchner.supervisor.pid_file import PidFile
from buchner.supervisor.registry import Instance
from buchner.supervisor.supervisor import Options, Supervisor
from buchner.supervisor.upgrade import Upgrade, check_apps, check_only, inherited_state
from buchner.supervisor.watch import Watcher

if TYPE_CHECKING:
    from buchner.config import Loaded

READY_FD = "BUCHNER_READY_FD"
"""Environment variable of a descriptor that gets one JSON line once the service accepts (`Gateway.start`)."""
LIFELINE_FD = "BUCHNER_LIFELINE_FD"
"""Environment variable of a descriptor whose end of file stops the service: who started it is gone."""
PRELOAD = "BUCHNER_PRELOAD_PROCESS"
"""Environment variable with control socket and pid of a process that forks workers (`Gateway.start`)."""


def run(
    load: Callable[[], Loaded],
    title: str,
    *,
    config_file: str = "",
    watch: bool = False,
    preload: tuple[socket.socket, int] | None = None,
    nginx: bool = False,
) -> int:
    """Serve until told to stop; returns the exit status.

    Args:
        load: Reads the configuration; called again at each reload.
        title: What is served: an app's target or a file.
        config_file: The file, where there is one.
        watch: Reload when a file of the app changes.
        preload: See `Options`.
        nginx: See `Options`; and nothing is said when all is well.

    Raises:
        BuchnerError: It could not start.
    """
    logs.set_up()
    first = [load()]
    if check_only():
        check_apps(first[0])
        return 0
    process = first[0].process
    logs.set_up(process.error_log)
    state = inherited_state()
    if process.daemon and state is None:
        to_the_background(leave_output=nginx)
    pid_file = PidFile(process.pid_file)
    ready_fd, lifeline = _take_fd(READY_FD), _take_fd(LIFELINE_FD)
    watchers: list[Watcher] = []

    def serving(supervisor: Supervisor) -> None:
        instance = Instance(
            pid=os.getpid(),
            title=title,
            config=config_file and str(Path(config_file).resolve()),
            directory=os.getcwd(),
            addresses=[listener.url() for listener in supervisor.listeners.values()],
        )
        control = ControlServer(supervisor, instance)
        control.open()
        pid_file.write()
        supervisor.at_exit += [control.close, pid_file.remove]
        if not (nginx and process.daemon):
            _greet(title, instance.addresses, supervisor, again=state is not None)
        logs.leave_terminal()
        if ready_fd is not None:
            os.write(ready_fd, json.dumps({"urls": instance.addresses}).encode() + b"\n")
            os.close(ready_fd)
        if watch:
            watchers.append(Watcher(supervisor, _watched(supervisor, config_file)))
            watchers[0].start()

    supervisor = Supervisor(
        Options(
            load=lambda: first.pop() if first else load(),
            title=title,
            on_serving=serving,
            preload=preload,
            nginx=nginx,
        )
    )
    if preload is None:
        supervisor.deployments.on_upgrade = Upgrade(supervisor).start
    if lifeline is not None:
        supervisor.hold_lifeline(lifeline)
    pid_file.check()
    try:
        return supervisor.run(state)
    except BuchnerError:
        logs.give_back()
        raise


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
    click.echo(
        f"Buchner {__version__} {word} {title} on {' and '.join(urls)} ({supervisor.workers.summary()})", err=True
    )
    sys.stderr.flush()


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
