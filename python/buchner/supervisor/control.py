"""The control socket of an instance: one JSON line in, one JSON line out (`buchner status`, `reload`, …)."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
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


class ControlServer:
    """Answers on the control socket."""

    def __init__(self, supervisor: Supervisor, instance: Instance) -> None:
        self._supervisor = supervisor
        self._instance = instance
        self._listener: socket.socket | None = None
        self._stopping: list[socket.socket] = []

    def open(self) -> None:
        """Register the instance and listen; an instance that cannot be registered serves all the same."""
        try:
            path = self._instance.socket_path()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.setblocking(False)
            listener.bind(path)
            listener.listen()
            self._instance.file().write_bytes(msgspec.json.encode(self._instance))
        except (OSError, BuchnerError) as error:
            logger.warning("`buchner status` and the like will not find this instance: %s", error)
            return
        self._listener = listener
        self._supervisor.loop.watch(listener.fileno(), self._accept)
        if self._supervisor.upgraded_for is not None:
            self._reply(self._supervisor.upgraded_for)(self._supervisor.upgrade_error)
            self._supervisor.upgraded_for = None

    def _accept(self, _events: int) -> None:
        if self._listener is None:
            return
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
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
        if self._listener is not None:
            self._listener.close()
            for path in (self._instance.socket_path(), str(self._instance.file())):
                with contextlib.suppress(OSError):
                    os.unlink(path)
        for connection in self._stopping:
            self._answer(connection, {})
