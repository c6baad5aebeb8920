"""What a supervisor leaves to the program that takes its place in an upgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

import msgspec

from buchner.config import AppSettings, ProcessSettings
from buchner.config.model import KeptCertificates
from buchner.supervisor.sealed_plan import SealedPlan
from buchner.supervisor.worker_process import WorkerState

if TYPE_CHECKING:
    import socket

    from buchner.config.model import Loaded
    from buchner.supervisor.deployments import Deployments
    from buchner.supervisor.gateways import Gateways
    from buchner.supervisor.launch import Launcher
    from buchner.supervisor.listeners import Listener
    from buchner.supervisor.loop import Loop
    from buchner.supervisor.process import Reaper
    from buchner.supervisor.workers import Workers

VERSION = 1
"""Of the state; a new program that finds another one does not know it."""


class UpgradeHost(Protocol):
    """The supervisor, as an upgrade needs it: before and after."""

    loop: Loop
    reaper: Reaper
    launcher: Launcher
    gateways: Gateways
    workers: Workers
    deployments: Deployments
    listeners: dict[str, Listener]
    loaded: Loaded | None
    stopping: bool
    started_at: float
    upgrade_asker: socket.socket | None
    upgraded_for: socket.socket | None


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
    kept: KeptCertificates | None = None

    @classmethod
    def of(cls, supervisor: UpgradeHost) -> Self:
        """What a supervisor that serves leaves to the program that takes its place."""
        loaded, force = supervisor.loaded, supervisor.gateways.force
        if loaded is None or force is None:
            raise RuntimeError("nothing is in force")
        asker = supervisor.upgrade_asker
        leaving = {number for pool in supervisor.workers.leaving for number in pool.workers}
        return cls(
            version=VERSION,
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
            kept=loaded.kept,
        )

    def descriptors(self) -> list[int]:
        """The descriptors it names, which the new program inherits."""
        found = [listener.fd for listener in self.listeners]
        for gateway in self.gateways:
            found += [gateway.fd, gateway.dump]
        for worker in self.workers:
            found += [worker.fd, worker.dump]
        return [fd for fd in [*found, self.plan.fd, self.asker] if fd >= 0]
