"""A supervisor over the fake gateway and fake slots: `python supervisor.py TARGET WORKERS`."""

import os
import sys
from pathlib import Path
from typing import Any

from buchner.cli import start
from buchner.errors import BuchnerError
from buchner.serving import Serving
from buchner.supervisor import supervisor

here = Path(__file__).parent
original: Any = supervisor.Options


def options(**given):
    given["gateway_command"] = [sys.executable, str(here / "gateway.py")]
    given["worker_command"] = [sys.executable, str(here / "worker.py")]
    return original(**given)


setattr(start, "Options", options)  # noqa: B010 - a class is replaced by a function


def load():
    text = Path("spool").read_text() if Path("spool").exists() else ""
    serving = Serving(
        sys.argv[1], ["127.0.0.1:0"], workers=int(sys.argv[2]), preload="preload" in sys.argv, shutdown_timeout=5
    )
    document = serving.document()
    if text:
        document["gateway"]["spool_dir"] = text
    from buchner.config import load_dict

    return load_dict(document, "test", os.getcwd())


try:
    sys.exit(start.run(load, sys.argv[1]))
except BuchnerError as error:
    print(getattr(error, "traceback", ""), error, file=sys.stderr)
    sys.exit(error.exit_status)
