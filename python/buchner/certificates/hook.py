"""DNS-01 by a command, which is run for each record that is made and taken away."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from buchner.certificates.clock import Clock, WallClock
from buchner.errors import BuchnerError


@dataclass
class Hook:
    """A command that edits a zone, as `COMMAND present RECORD VALUE` and `COMMAND remove RECORD VALUE`.

    The environment has BUCHNER_ACTION, BUCHNER_RECORD and BUCHNER_VALUE too, and CERTBOT_DOMAIN and
    CERTBOT_VALIDATION, so that a hook written for certbot can be wrapped. No shell is involved.

    Args:
        command: Program and first arguments.
        propagation: Seconds to wait after a record was made, until all name servers have it.
        timeout: Seconds the command may take.
        clock: The time.
    """

    command: Sequence[str]
    propagation: float = 0.0
    timeout: float = 120.0
    clock: Clock | None = None

    def present(self, record: str, value: str) -> None:
        """See `challenges.DnsProvider`."""
        self._run("present", record, value)
        if self.propagation:
            (self.clock or WallClock()).sleep(self.propagation)

    def remove(self, record: str, value: str) -> None:
        """See `challenges.DnsProvider`."""
        self._run("remove", record, value)

    def _run(self, action: str, record: str, value: str) -> None:
        about = {
            "BUCHNER_ACTION": action,
            "BUCHNER_RECORD": record,
            "BUCHNER_VALUE": value,
            "CERTBOT_DOMAIN": record.removeprefix("_acme-challenge."),
            "CERTBOT_VALIDATION": value,
        }
        title = f"the DNS hook `{shlex.join(self.command)} {action}`"
        try:
            process = subprocess.Popen(
                [*self.command, action, record, value],
                env={**os.environ, **about},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise BuchnerError(f"{title} cannot be run: {error.strerror}") from error
        with process:
            try:
                output, _ = process.communicate(timeout=self.timeout)
            except subprocess.TimeoutExpired as error:
                _end(process)
                raise BuchnerError(f"{title} did not end within {self.timeout:g} s and was killed") from error
        if process.returncode:
            lines = output.decode(errors="replace").strip().splitlines()
            said = f": {lines[-1][:200]}" if lines else ""
            raise BuchnerError(f"{title} failed with status {process.returncode}{said}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the command and what it has started, so that none of them holds the pipe open."""
    end: Callable[[int, int], None] = os.killpg
    end(process.pid, 9)
    process.communicate()
