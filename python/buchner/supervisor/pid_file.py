"""The PID file."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from buchner.errors import BuchnerError


class PidFile:
    """A file with this process's id; does nothing without a path."""

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None

    def _holder(self) -> int | None:
        if self._path is None:
            return None
        with contextlib.suppress(OSError, ValueError):
            pid = int(self._path.read_text())
            os.kill(pid, 0)
            return pid
        return None

    def check(self) -> None:
        """Refuse to start where the file names a Buchner that runs.

        Raises:
            BuchnerError: It does.
        """
        pid = self._holder()
        if pid is None or pid == os.getpid():
            return
        with contextlib.suppress(OSError):
            if b"buchner" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                return  # the number belongs to another program by now
        raise BuchnerError(
            f"pid file {self._path}: Buchner runs already (pid {pid}); stop it with `buchner stop {pid}`"
        )

    def write(self) -> None:
        """Write it, whole or not at all.

        Raises:
            BuchnerError: It cannot be written.
        """
        if self._path is None:
            return
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            draft.write_text(f"{os.getpid()}\n")
            draft.replace(self._path)
        except OSError as error:
            raise BuchnerError(f"pid file {self._path} cannot be written: {error.strerror}") from error

    def remove(self) -> None:
        """Remove it, if it is still ours."""
        if self._path is not None and self._holder() == os.getpid():
            with contextlib.suppress(OSError):
                self._path.unlink()
