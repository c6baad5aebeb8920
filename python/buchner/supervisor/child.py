"""What gateway and worker processes do first; imports as little as it can, because each of them pays for it."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys

STACKS_SIGNAL = signal.SIGRTMIN + 5
"""Makes a worker or gateway write the Python stacks of all its threads to its dump file (faulthandler)."""

GROUP_SIGNALS = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT,
)  # fmt: skip
"""Signals that a terminal or a service manager sends to all processes; the supervisor says what is to be done."""


OPEN_FILES = 1 << 16
"""Descriptors that supervisor and workers take where the hard limit permits.

A worker has a socket for each thread and I/O thread, and the supervisor makes them. Not all that may be had: programs
exist that close every descriptor they might have."""
DEFAULT_THREADS = 2
"""Threads of a worker where nothing sets them."""


def raise_open_files() -> None:
    """Raise the soft limit of open files, which often is 1024, as far as is of use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def drop(argument: str) -> None:
    """Become an identity for good (`Identity.argument`: `uid:gid:group,group`); before any thread is started."""
    uid, gid, groups = argument.split(":")
    try:
        os.setgroups([int(number) for number in groups.split(",") if number])
        os.setgid(int(gid))
        os.setuid(int(uid))
    except OSError as error:
        sys.stderr.write(f"this process cannot become uid {uid}, gid {gid}: {error.strerror}\n")
        sys.exit(1)
