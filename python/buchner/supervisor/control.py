"""The control socket of an instance: one JSON line in, one JSON line out (`buchner status`, `reload`, …)."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

import msgspec

from buchner.errors import BuchnerError
from buchner.supervisor.worker_process import WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable

    from buchner.supervisor.registry import Instance
    from buchner.supervisor.supervisor import Supervisor

logger = logging.getLogger("buchner")

_MAX_REQUEST = 65536
_LOOK_EVERY = 2.0
"""Seconds between two looks whether the instance can still be found."""


class ControlServer:
    """Answers on the control socket."""

    def __init__(self, supervisor: Supervisor, instance: Instance) -> None:
        self._supervisor = supervisor
        self._instance = instance
        self._listener: socket.socket | None = None
        self._inode = 0
        self._closed = False
        self._stopping: list[socket.socket] = []

    def open(self) -> None:
        """Register the instance and listen; an instance that cannot be registered serves all the same."""
        self._register(first=True)
        self._supervisor.loop.call_later(_LOOK_EVERY, self._look)
        if self._supervisor.upgraded_for is not None:
            self._reply(self._supervisor.upgraded_for)(self._supervisor.upgrade_error)
            self._supervisor.upgraded_for = None

    def _register(self, *, first: bool) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path = self._instance.socket_path()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            listener.setblocking(False)
            listener.bind(path)
            os.chmod(path, 0o600)  # before it listens
            listener.listen()
            file = self._instance.file()
            file.unlink(missing_ok=True)
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as written:
                written.write(msgspec.json.encode(self._instance))
            self._inode = os.stat(path).st_ino
        except (OSError, BuchnerError) as error:
            listener.close()
            if first:
                logger.warning("`buchner status` and the like will not find this instance: %s", error)
            return
        self._stop_listening()
        self._listener = listener
        self._supervisor.loop.watch(listener.fileno(), self._accept)

    def _look(self) -> None:
        """Register again when someone has removed the files, or their directory."""
        if self._closed:
            return
        self._supervisor.loop.call_later(_LOOK_EVERY, self._look)
        with contextlib.suppress(OSError, BuchnerError):
            if os.stat(self._instance.socket_path()).st_ino == self._inode and self._instance.file().exists():
                return
        self._register(first=False)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._supervisor.loop.unwatch(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def _accept(self, _events: int) -> None:
        if self._listener is None:
            return
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            if not _may_ask(connection):
                connection.close()
                return
            connection.settimeout(1.0)
            self._supervisor.loop.watch(connection.fileno(), lambda _events: self._read(connection))

    def _read(self, connection: socket.socket) -> None:
        self._supervisor.loop.unwatch(connection.fileno())
        try:
            request = json.loads(connection.recv(_MAX_REQUEST))
            op = request["op"]
        except (OSError, ValueError, KeyError, TypeError):
            connection.close()
            return
        reply = self._reply(connection)
        supervisor = self._supervisor
        if op == "status":
            supervisor.gateways.ask(lambda counters: self._answer(connection, self.status(counters)))
        elif op == "reload":
            supervisor.deployments.reload(reply)
        elif op == "upgrade":
            supervisor.upgrade_asker = connection
            supervisor.deployments.upgrade(reply)
        elif op == "reopen":
            supervisor.reopen(reply)
        elif op == "stop":
            self._stopping.append(connection)
            supervisor.stop()
        else:
            reply(BuchnerError(f"unknown request {op!r}"))

    def _reply(self, connection: socket.socket) -> Callable[[BuchnerError | None], None]:
        def reply(error: BuchnerError | None) -> None:
            answer: dict[str, Any] = {}
            if error is not None:
                answer = {
                    "error": str(error),
                    "exit_status": error.exit_status,
                    "traceback": getattr(error, "traceback", ""),
                }
            self._answer(connection, answer)

        return reply

    def _answer(self, connection: socket.socket, answer: dict[str, Any]) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(1.0)
            connection.sendall(json.dumps(answer).encode() + b"\n")

    def status(self, counters: dict[str, Any]) -> dict[str, Any]:
        """Everything `buchner status --json` shows."""
        from buchner import __version__

        supervisor = self._supervisor
        now = time.monotonic()
        activity = (
            "stopping" if supervisor.stopping else "reloading" if supervisor.deployments.current is not None else ""
        )
        return {
            **msgspec.to_builtins(self._instance),
            "version": __version__,
            "started_at": supervisor.started_at,
            "activity": activity,
            "gateway": counters,
            "gateways": [
                {
                    "id": gateway.number,
                    "pid": gateway.pid,
                    "state": gateway.state.value,
                    "age": now - gateway.started_at,
                }
                for gateway in supervisor.gateways.all.values()
            ],
            "pools": {name: self._pool(name) for name in supervisor.workers.pools},
        }

    def _pool(self, name: str) -> dict[str, Any]:
        everybody = self._supervisor.workers
        pool = everybody.pools[name]
        workers = [worker for worker in everybody.all() if worker.pool == name]
        return {
            "target": pool.settings.target,
            "threads": pool.threads,
            "workers": [
                {
                    "id": worker.number,
                    "pid": worker.pid,
                    "state": "being replaced" if worker.recycling else WorkerState(worker.state).name.lower(),
                    "age": time.monotonic() - worker.started_at,
                }
                for worker in workers
            ],
        }

    def close(self) -> None:
        """Unregister, and tell those who asked for the stop."""
        self._closed = True
        if self._listener is not None:
            self._stop_listening()
            for path in (self._instance.socket_path(), str(self._instance.file())):
                with contextlib.suppress(OSError):
                    os.unlink(path)
        for connection in self._stopping:
            self._answer(connection, {})


def _may_ask(connection: socket.socket) -> bool:
    """Whether the other end is root or the user of this process (SO_PEERCRED), whatever the modes of the files say."""
    credentials = struct.Struct("3i")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    return credentials.unpack(raw)[1] in (0, os.geteuid())
