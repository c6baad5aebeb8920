"""`buchner run FILE` with its gateway under another program: `counted.py FILE PROGRAM…`."""

from __future__ import annotations

import getpass
import os
import sys
from functools import partial

from buchner.cli import start
from buchner.config import load
from buchner.supervisor.process import python_command
from buchner.supervisor.supervisor import Options


def main(file: str, *prefix: str) -> int:
    """Serve what a file says.

    Args:
        file: a gateway.toml or an nginx.conf.
        prefix: the program and its options.
    """
    command = [*prefix, *python_command("buchner.gateway")]
    vars(start)["Options"] = partial(Options, gateway_command=command)
    # Whoever is to be asked by callgrind_control has to stay who it was.
    overrides = {"gateway": {"user": getpass.getuser()}} if os.geteuid() == 0 else {}
    return start.run(lambda: load(file, overrides), file, config_file=file)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
