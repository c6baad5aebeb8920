"""`Gateway`: serving an app from Python.

Workers are programs of their own, so they have to find the app by a name. It is looked for in the modules that are
imported (`shop:app`; for the program itself, its file). An app that has no name, such as one made inside a
function, is taken along by forking: a copy of this process is made that forks the workers. Threads do not survive a
fork, `reload` then restarts workers with the same code, and an upgrade is not possible.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Self

from buchner.cli import start as starting
from buchner.errors import AppImportError, BuchnerError
from buchner.serving import Serving
from buchner.supervisor import channel, logs
from buchner.supervisor.launch import IN_WORKER, arguments
from buchner.supervisor.process import python_command

_START_SECONDS = 90.0


class Gateway:
    """An app behind a gateway.

    Args:
        app: The app: a target such as `"shop:create_app()"`, or a WSGI app object.
        bind: Addresses, as for `buchner serve --bind`; one or a list.
        settings: Further settings, as `buchner serve` has flags for (`workers=4`, `threads=8`, …).

    Example::

        if __name__ == "__main__":
            Gateway(app).run(bind="127.0.0.1:8000")
    """

    def __init__(self, app: Any, bind: str | list[str] | None = None, **settings: Any) -> None:
        self._object = None if isinstance(app, str) else app
        target = app if isinstance(app, str) else target_of(app)
        self._forks = target is None
        self._serving = Serving(target or "app", _as_list(bind), origin="Gateway()", **settings)

    def run(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        bind: str | list[str] | None = None,
        reload: bool = False,
    ) -> int:
        """Serve until SIGTERM or SIGINT; returns the exit status. Main thread only.

        Inside a worker that imports the program this does nothing, as `Flask.run` under `flask run`.

        Args:
            host: Host to listen on, with `port`.
            port: Port to listen on; 8000 when only the host is given.
            bind: Addresses instead of host and port.
            reload: Reload when a Python file changes.

        Raises:
            BuchnerError: It could not start.
        """
        if os.environ.get(IN_WORKER):
            return 0
        serving = self._bound(_address(host, port) or bind)
        preload = self._fork() if self._forks else None
        return starting.run(serving.load, serving.target, watch=reload, preload=preload)

    def start(self, bind: str | list[str] | None = None, timeout: float = _START_SECONDS) -> RunningGateway:
        """Serve in other processes and return once they accept connections.

        Args:
            bind: Addresses; a free port of 127.0.0.1 when neither this nor the constructor names one.
            timeout: Seconds to wait.

        Raises:
            BuchnerError: It did not start; the reason is on standard error.
        """
        if os.environ.get(IN_WORKER):
            raise BuchnerError('Gateway.start() was called in a worker; call it under `if __name__ == "__main__":`')
        serving = self._bound(bind)
        if not serving.bind:
            serving.bind = ["127.0.0.1:0"]
        ready, ready_end = os.pipe()
        lifeline_end, lifeline = os.pipe()
        document = json.dumps(dataclasses.asdict(serving))
        environ = {**os.environ, starting.READY_FD: str(ready_end), starting.LIFELINE_FD: str(lifeline_end)}
        command = python_command("buchner.api", document)
        inherited = [ready_end, lifeline_end]
        if self._forks:
            pid = self._start_forking(command, environ, inherited)
            process: _Process = _Forked(pid)
        else:
            process = subprocess.Popen(command, env=environ, pass_fds=inherited, start_new_session=True)
        os.close(ready_end)
        os.close(lifeline_end)
        urls = _wait_until_ready(ready, process, timeout)
        return RunningGateway(process, urls, lifeline)

    def _bound(self, bind: str | list[str] | None) -> Serving:
        return dataclasses.replace(self._serving, bind=_as_list(bind) or list(self._serving.bind))

    def _fork(self) -> tuple[socket.socket, int]:
        """Fork the process that forks workers; returns its control socket and its pid."""
        ours, theirs = channel.pair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _preload(self._object, theirs, self._serving)
        theirs.close()
        return ours, pid

    def _start_forking(self, command: list[str], environ: dict[str, str], inherited: list[int]) -> int:
        """Fork a process that forks the preload process and then becomes the supervisor."""
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setsid()
            control, preload_pid = self._fork()
            for fd in [control.fileno(), *inherited]:
                os.set_inheritable(fd, True)
            environ[starting.PRELOAD] = f"{control.fileno()}:{preload_pid}"
            os.execve(command[0], command, environ)
        finally:
            os._exit(1)


class RunningGateway:
    """A gateway that serves in other processes; also a context manager that stops it."""

    def __init__(self, process: _Process, urls: list[str], lifeline: int) -> None:
        self._process = process
        self._lifeline = lifeline
        self.urls = urls
        """Where it answers, one URL an address."""

    @property
    def url(self) -> str:
        """The first address, such as `http://127.0.0.1:40123`."""
        return self.urls[0]

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._process.pid

    def stop(self, timeout: float = 60.0) -> int:
        """Let running requests finish and end everything; returns the exit status."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.kill(self._process.pid, signal.SIGTERM)
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class _Forked:
    """A child made with fork(2), with the methods of `subprocess.Popen` that are used here."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("buchner", timeout or 0)
            time.sleep(0.01)
        return status

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


_Process = subprocess.Popen[bytes] | _Forked


def target_of(app: Any) -> str | None:
    """The name a worker can import an app object by; None where it has none."""
    name = getattr(app, "import_name", None) or getattr(app, "__module__", None) or ""
    modules = [name, *sys.modules]
    for module_name in modules:
        module = sys.modules.get(module_name)
        if module is None or module_name.startswith("buchner."):
            continue
        for attribute, value in list(vars(module).items()):
            if value is app and not attribute.startswith("__"):
                if module_name != "__main__":
                    return f"{module_name}:{attribute}"
                file = getattr(module, "__file__", None)
                if file and os.path.isfile(file):
                    return f"{os.path.abspath(file)}:{attribute}"
    return None


def _preload(app: Any, control: socket.socket, serving: Serving) -> None:
    """Be the process that forks workers of an app object; never returns."""
    from importlib import import_module

    from buchner.worker import main as worker
    from buchner.worker.options import parse

    status = 1
    try:
        os.environ[IN_WORKER] = "1"
        control.setblocking(True)
        settings = serving.load().app["app"]
        words = arguments(settings, None, "--preload", "--control-fd", str(control.fileno()))
        status = worker.serve(app, control, parse(words), import_module("buchner._native").Slots)
    finally:
        os._exit(status)


def _wait_until_ready(ready: int, process: _Process, timeout: float) -> list[str]:
    with os.fdopen(ready, "rb") as file:
        readable, _, _ = select.select([file], [], [], timeout)
        line = file.readline() if readable else b""
    if line:
        urls: list[str] = json.loads(line)["urls"]
        return urls
    if not readable:
        process.kill()
        process.wait()
        raise BuchnerError(f"the gateway did not start within {timeout:g} s")
    status = process.wait()
    kind = AppImportError if status == AppImportError.exit_status else BuchnerError
    raise kind(f"the gateway did not start (exit status {status}); the reason is on standard error")


def _address(host: str | None, port: int | None) -> str | None:
    if host is None and port is None:
        return None
    name = host or "127.0.0.1"
    return f"[{name}]:{8000 if port is None else port}" if ":" in name else f"{name}:{8000 if port is None else port}"


def _as_list(value: str | list[str] | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def main(arguments: list[str]) -> int:
    """Run what `Gateway.start` asked for."""
    serving = Serving(**json.loads(arguments[0]))
    logs.set_up()
    try:
        return starting.run(serving.load, serving.target, preload=starting.take_preload())
    except BuchnerError as error:
        traceback = getattr(error, "traceback", "")
        sys.stderr.write(f"{traceback}buchner: error: {error}\n")
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
