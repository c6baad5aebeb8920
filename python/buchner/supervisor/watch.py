"""`--reload`: a small process watches files and says when one has changed, so that the supervisor has one thread."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING

from buchner.supervisor.process import Child, python_command

if TYPE_CHECKING:
    from buchner.supervisor.supervisor import Supervisor

logger = logging.getLogger("buchner")


class Watcher:
    """Reloads the supervisor when a file changes.

    Args:
        paths: Directories (their Python files) and single files.
    """

    def __init__(self, supervisor: Supervisor, paths: list[str]) -> None:
        self._supervisor = supervisor
        self._paths = paths
        self._child: Child | None = None

    def start(self) -> None:
        """Start the watching process."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            self._child = self._supervisor.reaper.spawn(
                "file watcher",
                python_command("buchner.supervisor.watch", str(theirs.fileno()), *self._paths),
                lambda status: None if status == 0 else logger.warning("the file watcher ended; --reload is off"),
                pass_fds=[theirs.fileno()],
            )
        self._supervisor.loop.watch(ours.fileno(), lambda _events: self._changed(ours))
        self._supervisor.at_exit.append(ours.close)

    def _changed(self, sock: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = sock.recv(65536)
        if not data:
            self._supervisor.loop.unwatch(sock.fileno())
            return
        logger.info("changed: %s", ", ".join(sorted(set(data.decode(errors="replace").split("\0")) - {""})))
        self._supervisor.deployments.reload(lambda _error: None)  # it logs what went wrong


def main(arguments: list[str]) -> int:
    """Watch until the supervisor is gone."""
    import threading

    import watchfiles

    sock = socket.socket(fileno=int(arguments[0]))
    single = {os.path.realpath(path) for path in arguments[1:] if os.path.isfile(path)}
    python = watchfiles.PythonFilter()

    def wanted(change: watchfiles.Change, path: str) -> bool:
        return os.path.realpath(path) in single or python(change, path)

    ended = threading.Event()

    def wait_for_the_end() -> None:
        sock.recv(1)
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt, OSError):
        for changes in watchfiles.watch(*arguments[1:], watch_filter=wanted, stop_event=ended, raise_interrupt=False):
            sock.sendall("".join(f"{os.path.relpath(path)}\0" for _, path in changes).encode()[:60000])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
