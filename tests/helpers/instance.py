"""A whole Buchner as its user starts it, and its process tree: what fault tests kill, reload and measure."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.gateway import BUCHNER
from helpers.raw import Reply, ask
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


class Instance:
    """`python -m buchner WORDS` in `directory`, on a port the kernel chose (`--bind 127.0.0.1:0`).

    Args:
        directory: Where it runs; its output and its state are kept there.
        words: The command line after `buchner`.
        command: What starts Buchner.
        environ: Added to the environment.
        said_in: The file its messages are in, where the command line names one.
    """

    def __init__(
        self,
        directory: Path,
        *words: str,
        command: Sequence[str] = ("-m", "buchner"),
        environ: dict[str, str] | None = None,
        said_in: str = "output.txt",
    ) -> None:
        self.directory = directory
        self.output = directory / said_in
        self.environ = {**os.environ, "BUCHNER_STATE_DIR": str(directory / "state"), **(environ or {})}
        self.output.touch()
        with (directory / "output.txt").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command, *words], cwd=directory, env=self.environ, stdout=output, stderr=output
            )
        wait_for(lambda: " on http" in self.log or self.process.poll() is not None, "the start", 60)
        assert " on http" in self.log, self.log
        self.port = int(re.split(r" on https?://127\.0\.0\.1:", self.log)[1].split()[0])

    @property
    def log(self) -> str:
        """All that was written to standard output and error so far."""
        return self.output.read_text(errors="replace")

    def says(self, words: str, seconds: float = 20.0, times: int = 1) -> None:
        """Wait until the log has these words, so many times."""
        wait_for(lambda: self.log.count(words) >= times, f"{words!r} in the log, {times} times", seconds)

    def get(self, target: str = "/", method: str = "GET", *fields: str, body: bytes = b"") -> Reply:
        """One request on a connection of its own."""
        lines = [f"{method} {target} HTTP/1.1", "Host: test", "Connection: close", *fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return ask(self.port, "\r\n".join(lines).encode() + b"\r\n\r\n" + body, method)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another `buchner` command against this instance."""
        return subprocess.run(
            [*BUCHNER, *words],
            cwd=self.directory, env=self.environ, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        """What `buchner status --json` shows; asked again while an upgrade executes its new version."""
        line = wait_for(self._status, "an answer to status", 30)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _status(self) -> bytes:
        with contextlib.suppress(ConnectionError), socket.socket(socket.AF_UNIX) as control:
            control.settimeout(15)
            control.connect(str(self.directory / "state" / f"{self.process.pid}.sock"))
            control.sendall(b'{"op": "status"}\n')
            return control.makefile("rb").readline()
        return b""

    def _children(self, module: str) -> list[int]:
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in pids if module.encode() in _command_line(int(pid))]

    def gateways(self) -> list[int]:
        """Pids of the gateway processes, draining ones too, the oldest first."""
        return self._children("buchner.gateway")

    def workers(self) -> list[int]:
        """Pids of the worker processes, starting and leaving ones too, the oldest first."""
        return self._children("buchner.worker")

    def ready_workers(self) -> list[int]:
        """Pids of the workers that serve."""
        pools = self.status()["pools"].values()
        return [worker["pid"] for pool in pools for worker in pool["workers"] if worker["state"] == "ready"]

    def replaces(self, before: Collection[int], seconds: float = 60.0) -> None:
        """Wait until none of these processes is left, and a gateway is there."""
        wait_for(
            lambda: self.gateways() and not {*before} & {*self.gateways(), *self.workers()},
            f"the processes {before} are replaced",
            seconds,
        )

    def signal(self, number: int) -> None:
        """Send the supervisor a signal."""
        self.process.send_signal(number)

    def end(self) -> int:
        """SIGTERM, then its exit status; killed after 60 s."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def kill(pid: int) -> None:
    """Kill -9, and wait until the kernel has taken the process down: its sockets are closed then."""
    handle = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        assert select.select([handle], [], [], 20)[0], f"process {pid} outlived SIGKILL"
    finally:
        os.close(handle)


def private_memory(pid: int) -> int:
    """Bytes of memory that are this process's own (proc(5), RssAnon)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"process {pid} has no RssAnon")
