"""`buchner reload`, `stop`, `reopen` and `upgrade`: asking a running instance."""

from __future__ import annotations

from typing import Any

import click

from buchner.errors import BuchnerError
from buchner.supervisor import registry

_WAIT = {"reload": 600.0, "upgrade": 600.0, "stop": 600.0, "reopen": 10.0}


def which(command: Any) -> Any:
    """Add what picks the instance to a command."""
    return click.argument("instance", required=False)(command)


def _ask(instance: str | None, op: str, done: str) -> None:
    found = registry.find(instance)
    answer = registry.ask(found, op, _WAIT[op])
    if answer.get("error"):
        error = BuchnerError(f"{op} refused, nothing was changed: {answer['error']}")
        error.exit_status = int(answer.get("exit_status", 1))
        error.traceback = answer.get("traceback", "")  # type: ignore[attr-defined]
        raise error
    click.echo(f"{found.title} (pid {found.pid}): {done}")


@click.command()
@which
def reload(instance: str | None) -> None:
    """Put the new code and configuration in force; no request is lost.

    New workers are started first. If the app cannot be imported, or the file is wrong, everything stays as it is.
    INSTANCE is a pid, a configuration file or an app; needed when more than one runs. The same as SIGHUP.
    """
    _ask(instance, "reload", "reloaded")


@click.command()
@which
def stop(instance: str | None) -> None:
    """Stop accepting, finish running requests, end. The same as SIGTERM."""
    _ask(instance, "stop", "stopped")


@click.command()
@which
def reopen(instance: str | None) -> None:
    """Open the log files again by their names, after they were moved. The same as SIGUSR1."""
    _ask(instance, "reopen", "log files reopened")


@click.command()
@which
def upgrade(instance: str | None) -> None:
    """Replace Buchner itself, the gateway and the code by what is installed now; no request is lost.

    The new version is checked first: it has to read the configuration and import the app. The same as SIGUSR2.
    """
    _ask(instance, "upgrade", "upgraded")
