"""The gateway process: `python -m buchner.gateway --control-fd N`, started by the supervisor.

Everything is imported before root is given up, so the gateway's user needs no access to the interpreter's files.
Signals from a terminal or a service manager reach the whole group; when to stop is the supervisor's to say, so they
are ignored here, and the end of the supervisor is seen as the end of file on the control socket.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import resource
import signal
import sys

from buchner import _native
from buchner.supervisor.identity import drop
from buchner.supervisor.process import STACKS_SIGNAL


def main(arguments: list[str] | None = None) -> int:
    """Run the gateway until it has drained; returns the exit status."""
    parser = argparse.ArgumentParser(prog="buchner.gateway")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--dump-fd", type=int, default=-1)
    parser.add_argument("--identity", help="uid:gid:groups to become")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    if options.dump_fd >= 0:
        faulthandler.enable(options.dump_fd)
        faulthandler.register(STACKS_SIGNAL, options.dump_fd, all_threads=True)
    with contextlib.suppress(ValueError, OSError):
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.identity:
        drop(options.identity)
    _native.gateway_main(options.control_fd)
    return 0


if __name__ == "__main__":
    sys.exit(main())
