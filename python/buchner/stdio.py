"""Standard input, output and error that are there: init scripts start programs with some of them closed."""

from __future__ import annotations

import os
import sys

_STDERR = 2


def complete() -> None:
    """Open /dev/null for each of the descriptors 0 to 2 that is closed; before another file takes it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(fd, True)
    os.close(fd)
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "r" if fd == 0 else "w"
            stream = open(fd, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
