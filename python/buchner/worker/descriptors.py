"""Waiting for a worker's descriptors, and for the end of a worker that has lost them."""

from __future__ import annotations

import os
import select
import time
from typing import NoReturn

_REPLACED_SECONDS = 10.0


def readable(descriptors: list[int], seconds: float) -> list[int]:
    """Wait for descriptors; returns those that can be read.

    `select` is asked for it by name each time: where gevent or eventlet have patched the app, its threads are
    coroutines of this one, which run meanwhile.
    """
    if not hasattr(select, "poll"):  # eventlet takes it away
        return select.select(descriptors, [], [], seconds)[0]
    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _events in poll.poll(seconds * 1000)]


def await_replacement() -> NoReturn:
    """The app has closed the worker's descriptors: the supervisor sees it, says so and kills this process."""
    time.sleep(_REPLACED_SECONDS)
    os._exit(1)
