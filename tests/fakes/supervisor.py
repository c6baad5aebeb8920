"""A supervisor over the fake gateway and fake slots: `python supervisor.py TARGET WORKERS`."""

import gc
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from buchner.cli import start
from buchner.errors import BuchnerError
from buchner.serving import Serving
from buchner.supervisor import deployment, supervisor

here = Path(__file__).parent
original: Any = supervisor.Options
setattr(deployment, "_PLAN_SECONDS", float(os.environ.get("TEST_PLAN_SECONDS", "60")))  # noqa: B010


def options(**given):
    given["gateway_command"] = [sys.executable, str(here / "gateway.py"), "--log", os.environ["FAKE_GATEWAY_LOG"]]
    given["worker_command"] = [sys.executable, str(here / "worker.py")]
    return original(**given)


setattr(start, "Options", options)  # noqa: B010 - a class is replaced by a function


def load():
    text = Path("spool").read_text() if Path("spool").exists() else ""
    serving = Serving(
        sys.argv[1], ["127.0.0.1:0"], workers=int(sys.argv[2]), preload="preload" in sys.argv, shutdown_timeout=5,
        start_timeout=float(os.environ.get("TEST_START_TIMEOUT", "60")),
    )  # fmt: skip
    document = serving.document()
    if text:
        document["gateway"]["spool_dir"] = text
    from buchner.config import load_dict

    return load_dict(document, "test", os.getcwd())


def count(*_):
    """Say how many objects there are of each class."""
    gc.collect()
    counts = Counter(type(each).__name__ for each in gc.get_objects())
    Path("counts.new").write_text(json.dumps(counts))
    os.replace("counts.new", "counts.json")


signal.signal(signal.SIGRTMIN, count)

try:
    sys.exit(start.run(load, sys.argv[1]))
except BuchnerError as error:
    print(getattr(error, "traceback", ""), error, file=sys.stderr)
    sys.exit(error.exit_status)
