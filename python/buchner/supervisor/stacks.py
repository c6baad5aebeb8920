"""The stacks of a worker in which a request hangs.

The worker's `faulthandler` writes them on a signal, in the handler itself: it needs no lock, and works while a loop
in C holds the interpreter.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from buchner.supervisor.child import STACKS_SIGNAL

if TYPE_CHECKING:
    from buchner.supervisor.loop import Loop
    from buchner.supervisor.process import Child
    from buchner.supervisor.worker_process import WorkerProcess

logger = logging.getLogger("buchner")

_LOOK_EVERY = 0.05
_LOOKS = 40


def collect(loop: Loop, child: Child, done: Callable[[str], object]) -> None:
    """Have a process write its stacks, and call back with them once nothing more is written; empty: it could not."""
    size = looks = 0

    def look() -> None:
        nonlocal size, looks
        if child.ended or child.dump < 0:
            done("")
            return
        now = os.fstat(child.dump).st_size
        looks += 1
        if (now == 0 or now != size) and looks < _LOOKS:
            size = now
            loop.call_later(_LOOK_EVERY, look)
        else:
            done(child.take_dump())

    child.take_dump()
    child.kill(STACKS_SIGNAL)
    loop.call_later(_LOOK_EVERY, look)


class StackDump:
    """One dump: the signal, then looking until nothing more is written, then the log.

    Args:
        what: The request, in words.
        done: Called at the end.
    """

    def __init__(self, loop: Loop, worker: WorkerProcess, what: str, done: Callable[[], None]) -> None:
        self._worker = worker
        self._what = what
        self._done = done
        if worker.child is None:
            loop.call_later(0, done)
        else:
            collect(loop, worker.child, self._log)

    def _log(self, stacks: str) -> None:
        child = self._worker.child
        if child is not None and not child.ended:
            stacks = stacks or "(the worker did not answer: it is stopped, or the kernel does not let it run)"
            logger.error("the stacks of %s (pid %d), where %s hangs:\n%s", self._worker, child.pid, self._what, stacks)
        self._done()
