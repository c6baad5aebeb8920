"""The command line of a worker process.

The supervisor writes it (`supervisor.launch.arguments`), so nobody needs argparse to explain it, which would cost each
worker 300 KiB.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

_NUMBERS = {"control-fd", "counts-fd", "dump-fd", "threads", "max-requests", "max-rss", "max-detached"}
_SWITCHES = {
    "static": ("static", True),
    "no-static": ("static", False),
    "static-precompressed": ("static_precompressed", True),
    "preload": ("preload", True),
    "check": ("check", True),
}


@dataclass
class Options:
    """What a worker is told."""

    target: str
    """The app, see `load`."""
    control_fd: int
    dump_fd: int = -1
    """Where stacks are written; -1: nowhere."""
    counts_fd: int = -1
    """The table of `buchner.counts`; -1: the process has its own."""
    identity: str = ""
    """Whom to become (`supervisor.child.drop`); empty: nobody else."""
    pythonpath: list[str] = field(default_factory=list)
    threads: int = 0
    """0: as many as are usual."""
    max_requests: int = 0
    max_age: float = 0.0
    """Seconds."""
    max_rss: int = 0
    """Bytes."""
    max_detached: int = 1000
    static: bool = True
    static_precompressed: bool = False
    preload: bool = False
    """Import the app, then fork workers when told to."""
    check: bool = False
    """Import the app, say how that went, and exit."""


def parse(arguments: list[str] | None = None) -> Options:
    """Read the command line; one that the supervisor has not written ends the process with status 2.

    Args:
        arguments: The words; those of this process when None.
    """
    try:
        return _parse(sys.argv[1:] if arguments is None else arguments)
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        sys.stderr.write(f"buchner.worker: {error!r}\nThe supervisor starts it: see `buchner serve --help`.\n")
        sys.exit(2)


def _parse(arguments: list[str]) -> Options:
    given: dict[str, Any] = {}
    words = iter(arguments)
    for word in words:
        name = word.removeprefix("--")
        if name == word:
            given["target"] = word
        elif name in _SWITCHES:
            key, on = _SWITCHES[name]
            given[key] = on
        elif name == "pythonpath":
            given.setdefault(name, []).append(next(words))
        elif name in _NUMBERS:
            given[name.replace("-", "_")] = int(next(words))
        elif name == "max-age":
            given["max_age"] = float(next(words))
        elif name == "identity":
            given[name] = next(words)
        else:
            raise KeyError(word)
    return Options(**given)
