"""Which instances run on this machine: one JSON file and one control socket each, in a directory of this user.

The directory is $BUCHNER_STATE_DIR, else /run/buchner for root, else $XDG_RUNTIME_DIR/buchner, else
/tmp/buchner-UID. Others may not enter it, nor use a socket in it, and an instance looks at who asks all the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import stat
import time
from pathlib import Path
from typing import Any

import msgspec

from buchner.errors import InstanceError

_EXECUTING = 10.0
"""Seconds an instance may take to execute its new version and to listen again."""
_AGAIN = 0.05
_OURS = re.compile(r"\d+\.(json|sock)")


class Instance(msgspec.Struct):
    """A running instance."""

    pid: int
    title: str
    config: str
    directory: str
    addresses: list[str]

    def socket_path(self) -> str:
        """Where its control socket is."""
        return str(state_directory() / f"{self.pid}.sock")

    def file(self) -> Path:
        """Where it is registered."""
        return state_directory() / f"{self.pid}.json"

    def __str__(self) -> str:
        return f"{self.title} on {' and '.join(self.addresses)} (pid {self.pid}, in {self.directory})"


def state_directory() -> Path:
    """The directory, made if need be.

    Raises:
        InstanceError: It is not this user's alone.
    """
    configured = os.environ.get("BUCHNER_STATE_DIR")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if configured:
        path = Path(configured)
    elif os.geteuid() == 0:
        path = Path("/run/buchner")
    elif runtime and os.access(runtime, os.W_OK):
        path = Path(runtime) / "buchner"
    else:
        path = Path(f"/tmp/buchner-{os.geteuid()}")  # noqa: S108 - checked below
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise InstanceError(
            f"state directory {path}: {error.strerror}; set BUCHNER_STATE_DIR to another one"
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise InstanceError(f"state directory {path} is not a directory that only this user writes to; move it away")
    if status.st_mode & 0o077 and all(_OURS.fullmatch(name) for name in os.listdir(path)):
        path.chmod(0o700)  # it is for nothing else; in another one the mode of the sockets and who connects decide
    return path


def instances() -> list[Instance]:
    """The instances that run; files of those that do not are removed."""
    found = []
    for file in sorted(state_directory().glob("*.json")):
        try:
            instance = msgspec.json.decode(file.read_bytes(), type=Instance)
            os.kill(instance.pid, 0)
        except (OSError, msgspec.DecodeError):
            with contextlib.suppress(OSError):
                file.unlink()
                file.with_suffix(".sock").unlink()
            continue
        found.append(instance)
    return found


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def find(selector: str | None) -> Instance:
    """The one instance that is meant.

    Args:
        selector: A pid, a configuration file, an app's target or an address; None where only one runs.

    Raises:
        InstanceError: None matches, or several do.
    """
    running = instances()
    if not running:
        raise InstanceError("no Buchner of this user is running (instances of other users are not seen)")
    chosen = running if selector is None else [instance for instance in running if _matches(instance, selector)]
    if len(chosen) == 1:
        return chosen[0]
    names = "\n".join(f"  {instance}" for instance in running)
    if not chosen:
        raise InstanceError(f'no running instance is "{selector}". These run:\n{names}')
    raise InstanceError(f"more than one instance runs; say which by its pid:\n{names}")


def _matches(instance: Instance, selector: str) -> bool:
    if selector == str(instance.pid) or selector == instance.title or selector in instance.addresses:
        return True
    return bool(instance.config) and os.path.realpath(selector) == instance.config


def _connected(instance: Instance, seconds: float) -> socket.socket:
    """Connect to an instance; one that executes its new version just now opens its socket again in a moment."""
    until = time.monotonic() + min(seconds, _EXECUTING)
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(seconds)
        try:
            sock.connect(instance.socket_path())
        except (ConnectionRefusedError, FileNotFoundError):
            sock.close()
            if time.monotonic() > until or not _alive(instance.pid):
                raise
            time.sleep(_AGAIN)
        except OSError:
            sock.close()
            raise
        else:
            return sock


def ask(instance: Instance, op: str, seconds: float) -> dict[str, Any]:
    """Ask an instance for something and wait for its answer.

    Raises:
        InstanceError: It did not answer within `seconds`.
    """
    try:
        with _connected(instance, seconds) as sock:
            sock.sendall(json.dumps({"op": op}).encode() + b"\n")
            with sock.makefile("rb") as file:
                line = file.readline()
    except OSError as error:
        raise InstanceError(f"{instance} does not answer: {error}") from error
    if not line:
        raise InstanceError(f"{instance} ended before it answered; its log says why")
    answer: dict[str, Any] = json.loads(line)
    return answer
