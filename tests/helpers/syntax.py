"""What nginx and Buchner say of the same nginx.conf, and files with a gap for the lines that are in question."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from buchner.config import load
from buchner.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

MAIN = "%s\nevents { }\nhttp { access_log off; server { listen unix:DIR/s; } }\n"
EVENTS = "events { %s }\nhttp { access_log off; server { listen unix:DIR/s; } }\n"
HTTP = "events { }\nhttp { access_log off; %s\n server { listen unix:DIR/s; } }\n"
SERVER = "events { }\nhttp { access_log off; server { listen unix:DIR/s; %s\n } }\n"
LOCATION = "events { }\nhttp { access_log off; server { listen unix:DIR/s; location /x/ { %s\n } } }\n"


def accepted(nginx: str, directory: Path, text: str) -> tuple[bool, str]:
    """Whether nginx takes a file, and what it says."""
    path = directory / "nginx.conf"
    path.write_text(f"pid {directory}/pid;\n{text}" if not text.startswith("\ufeff") else text)
    done = subprocess.run(
        [nginx, "-t", "-q", "-e", "stderr", "-p", str(directory), "-c", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode == 0, done.stderr


def problems(path: Path) -> list[str]:
    """Return what Buchner finds wrong with a file."""
    try:
        load(path)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []
