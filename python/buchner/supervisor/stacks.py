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
    from buchner.supervisor.worker_process import WorkerProcess

logger = logging.getLogger("buchner")

_LOOK_EVERY = 0.05
_LOOKS = 40


class StackDump:
    """One dump: the signal, then looking until nothing more is written, then the log.

    Args:
        what: The request, in words.
        done: Called at the end.
    """

    def __init__(self, loop: Loop, worker: WorkerProcess, what: str, done: Callable[[], object]) -> None:
        self._loop = loop
        self._worker = worker
        self._what = what
        self._done = done
        self._size = 0
        self._looks = 0
        if worker.child is not None:
            worker.child.take_dump()
            worker.child.kill(STACKS_SIGNAL)
        loop.call_later(_LOOK_EVERY, self._look)

    def _look(self) -> None:
        child = self._worker.child
        if child is None or child.ended or child.dump < 0:
            self._done()
            return
        size = os.fstat(child.dump).st_size
        self._looks += 1
        if (size == 0 or size != self._size) and self._looks < _LOOKS:
            self._size = size
            self._loop.call_later(_LOOK_EVERY, self._look)
            return
        stacks = child.take_dump() or "(the worker did not answer: it is stopped, or the kernel does not let it run)"
        logger.error("the stacks of %s (pid %d), where %s hangs:\n%s", self._worker, child.pid, self._what, stacks)
        self._done()
