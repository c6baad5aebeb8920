"""What gateway and worker processes do first; imports as little as it can, because each of them pays for it."""

from __future__ import annotations

import os
import signal

STACKS_SIGNAL = signal.SIGRTMIN + 5
"""Makes a worker or gateway write the Python stacks of all its threads to its dump file (faulthandler)."""


def drop(argument: str) -> None:
    """Become an identity for good (`Identity.argument`: `uid:gid:group,group`); before any thread is started."""
    uid, gid, groups = argument.split(":")
    os.setgroups([int(number) for number in groups.split(",") if number])
    os.setgid(int(gid))
    os.setuid(int(uid))
