"""Apps whose import replaces threads by coroutines (gevent, eventlet).

The slots' threads stay native, so that such an app runs one request a thread. Each native thread has a hub of its own,
and a lock that threads of several hubs share is slow at best: a worker has one thread then, unless more are asked for.
"""

from __future__ import annotations

import _thread
import logging
import sys

from buchner.supervisor.child import DEFAULT_THREADS

_START = _thread.start_new_thread


def patched_by() -> str | None:
    """Return the name of what has replaced threads since this module was loaded."""
    if _thread.start_new_thread is _START:
        return None
    return next((name for name in ("gevent", "eventlet") if name in sys.modules), "some library")


def threads(wanted: int) -> int:
    """Return how many threads this worker has, and say so where that is not what others have.

    Args:
        wanted: What the configuration asks for; 0: nothing.
    """
    library = patched_by()
    if library is None:
        return wanted or DEFAULT_THREADS
    logger = logging.getLogger("buchner")
    if wanted > 1:
        logger.warning(
            "the app is patched by %s: its %d threads each have a hub, locks that they share may block; "
            "workers with one thread are safe", library, wanted,
        )  # fmt: skip
    else:
        logger.warning(
            "the app is patched by %s: each worker serves one request at a time; more workers serve more", library
        )
    return wanted or 1
