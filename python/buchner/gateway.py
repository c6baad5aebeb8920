"""The gateway process: `python -m buchner.gateway --control-fd N`, started by the supervisor.

Everything is imported before root is given up, so the gateway's user needs no access to the interpreter's files; and
little is imported at all: the interpreter only starts the native half and then stands by.
Signals from a terminal or a service manager reach the whole group; when to stop is the supervisor's to say, so they
are ignored here, and the end of the supervisor is seen as the end of file on the control socket.
"""

from __future__ import annotations

import faulthandler
import resource
import signal
import sys

from buchner import _native
from buchner.supervisor.child import STACKS_SIGNAL, drop

_USAGE = "usage: python -m buchner.gateway --control-fd N [--dump-fd N] [--identity uid:gid:groups] [--open-files N]"
_FLAGS = {"--control-fd", "--dump-fd", "--identity", "--open-files"}


def main(arguments: list[str] | None = None) -> int:
    """Run the gateway until it has drained; returns the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    options = dict(zip(words[::2], words[1::2], strict=False))
    if len(words) % 2 or "--control-fd" not in options or not options.keys() <= _FLAGS:
        sys.stderr.write(f"{_USAGE}\nThe supervisor starts this process: see `buchner run --help`.\n")
        return 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    if "--dump-fd" in options:
        dump = int(options["--dump-fd"])
        faulthandler.enable(dump)
        faulthandler.register(STACKS_SIGNAL, dump, all_threads=True)
    _limit_open_files(int(options.get("--open-files", 0)))
    if "--identity" in options:
        drop(options["--identity"])
    _native.gateway_main(int(options["--control-fd"]))
    return 0


def _limit_open_files(wanted: int) -> None:
    """Take as many descriptors as are `wanted`, which takes root above the limit it was given; 0: as may be had."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted or hard, max(wanted, hard)))
    except (ValueError, OSError) as error:  # a hard limit above the kernel's own cannot be taken either
        sys.stderr.write(f"[warn] the limit of open files could not be set to {wanted or hard}: {error}\n")


if __name__ == "__main__":
    sys.exit(main())
