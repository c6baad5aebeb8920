"""The command line: one file per command."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from buchner import stdio

if TYPE_CHECKING:
    from buchner.errors import BuchnerError

_HOMES = {
    "serve": "serve",
    "run": "run",
    "nginx": "nginx",
    "check": "check",
    "doctor": "doctor",
    "convert": "convert",
    "reload": "control",
    "stop": "control",
    "reopen": "control",
    "status": "status",
    "upgrade": "control",
    "cert": "cert",
    "waf": "waf",
}
"""The commands in the order of the help, and the modules they are in: each imports only what it needs."""


class Reported(click.ClickException):
    """One of Buchner's errors, shown without a traceback of Buchner itself."""

    def __init__(self, error: BuchnerError) -> None:
        super().__init__(str(error))
        setattr(self, "exit_code", error.exit_status)  # noqa: B010 - click declares it a class variable
        self._traceback = getattr(error, "traceback", "")

    def show(self, file: Any = None) -> None:
        """Print the app's traceback, if there is one, and the error."""
        if self._traceback:
            click.echo(self._traceback.rstrip(), file=file, err=file is None)
        click.echo(f"buchner: error: {self.message}", file=file, err=file is None)


class Commands(click.Group):
    """The commands, with errors told in words and exit statuses."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Name the commands."""
        return list(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Import a command."""
        home = _HOMES.get(cmd_name)
        if home is None:
            return None
        command: click.Command = getattr(import_module(f"buchner.cli.{home}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; its result is the exit status."""
        from buchner.errors import BuchnerError

        try:
            result = super().invoke(ctx)
        except BuchnerError as error:
            raise Reported(error) from error
        if isinstance(result, int) and result:
            ctx.exit(result)
        return result


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 ended as told, 1 failed, 2 wrong flag or configuration, 3 the app could not be imported.",
)
@click.version_option(package_name="buchner", prog_name="buchner")
def cli() -> None:
    """Serve Flask and other WSGI apps behind a gateway of their own.

    \b
    Start here:
      buchner serve shop:app               the app `app` of shop.py, on http://127.0.0.1:8000
      buchner serve "shop:create_app()"    an app factory
      buchner serve                        finds app.py or wsgi.py, as `flask run` does
      buchner run gateway.toml             everything a file says
      buchner run nginx.conf               the nginx configuration you have
      buchner doctor gateway.toml          is everything as it has to be?

    \b
    While it runs, from another terminal:
      buchner status                       what runs, and how busy it is
      buchner reload                       new code and configuration; no request is lost
      buchner stop                         finish running requests, then end
    """


def main() -> None:
    """Run the command line and exit."""
    stdio.complete()
    cli.main(prog_name="buchner")
