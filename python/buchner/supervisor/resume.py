"""Taking over what the program before an upgrade has left running (the third step of upgrade.py)."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from buchner.config import AppSettings, Loaded
from buchner.supervisor.deployment import terms_of
from buchner.supervisor.gateways import Force
from buchner.supervisor.listeners import Listener
from buchner.supervisor.messages import WorkerReady
from buchner.supervisor.process import Child
from buchner.supervisor.worker_process import WorkerProcess, WorkerState

if TYPE_CHECKING:
    from buchner.supervisor.state import SavedWorker, State, UpgradeHost


def resume(supervisor: UpgradeHost, state: State) -> None:
    """Make a fresh supervisor the owner of everything in `state`."""
    supervisor.started_at = state.started_at
    supervisor.launcher.last_worker = state.last_worker
    supervisor.gateways.last_number = state.last_gateway
    supervisor.gateways.last_plan = state.last_plan
    for saved in state.listeners:
        sock = socket.socket(fileno=_own(saved.fd))
        supervisor.listeners[saved.address] = Listener(saved.address, sock, saved.inode)
    plan = state.plan
    _own(plan.fd)
    supervisor.loaded = Loaded({}, state.apps, state.process, list(supervisor.listeners), kept=state.kept)
    staying: dict[str, list[WorkerProcess]] = {}
    leaving: dict[str, list[WorkerProcess]] = {}
    for saved_worker in state.workers:
        group = leaving if saved_worker.leaving or saved_worker.pool not in state.apps else staying
        group.setdefault(saved_worker.pool, []).append(_worker(supervisor, saved_worker))
    for name, settings in state.apps.items():
        pool = supervisor.workers.make_pool(name, settings, state.process)
        pool.adopt(staying.get(name, []))
        supervisor.workers.pools[name] = pool
    terms = terms_of(state.process)
    for saved_gateway in state.gateways:
        sock = socket.socket(fileno=_own(saved_gateway.fd))
        gateway = supervisor.gateways.adopt(
            saved_gateway.number, saved_gateway.io_threads, sock, saved_gateway.pid, _own(saved_gateway.dump)
        )
        gateway.attached = set(saved_gateway.attached)
        gateway.known = set(saved_gateway.attached)
        gateway.addresses = set(supervisor.listeners)
        if saved_gateway.current:
            supervisor.gateways.promote(gateway, Force(plan, dict(supervisor.listeners), terms))
    if supervisor.gateways.force is None:
        supervisor.gateways.force = Force(plan, dict(supervisor.listeners), terms)
        supervisor.loop.call_later(0, supervisor.gateways.restart)  # it died just before
    for name, workers in leaving.items():
        pool = supervisor.workers.make_pool(name, state.apps.get(name, AppSettings()), state.process)
        pool.adopt(workers)
        supervisor.workers.dismiss(pool)
    if state.asker >= 0:
        supervisor.upgraded_for = socket.socket(fileno=_own(state.asker))


def _own(fd: int) -> int:
    if fd >= 0:
        os.set_inheritable(fd, False)
    return fd


def _worker(supervisor: UpgradeHost, saved: SavedWorker) -> WorkerProcess:
    dump = _own(saved.dump)
    worker = WorkerProcess(saved.number, saved.pool, saved.slots, dump, supervisor.loop, supervisor.reaper)
    worker.child = supervisor.reaper.adopt(Child(saved.pid, str(worker), worker.ended, dump))
    if saved.ready:
        worker.state = WorkerState.READY
        worker.ready = WorkerReady(pid=saved.pid, app=saved.pool)
    worker.recycling = saved.recycling
    worker.hung = saved.hung
    worker.open(socket.socket(fileno=_own(saved.fd)))
    return worker
