"""`flask --app shop gateway run`: Buchner as a command of Flask's own command line (entry point `flask.commands`)."""

from __future__ import annotations

from typing import Any

import click

from buchner.cli.find import find_app
from buchner.cli.serve import options, serve_app
from buchner.errors import BuchnerError


@click.group()
def gateway() -> None:
    """Serve the app behind Buchner, a gateway for production."""


@gateway.command("run")
@options
@click.pass_context
def run(ctx: click.Context, /, **flags: Any) -> None:
    """Serve the app that --app, FLASK_APP or app.py names, in Buchner's own workers.

    \b
    Example:
      flask --app shop gateway run --workers 4
    """
    info = ctx.find_root().obj
    target = getattr(info, "app_import_path", None)
    try:
        ctx.exit(serve_app(find_app(target), flags))
    except BuchnerError as error:
        traceback = getattr(error, "traceback", "")
        click.echo(f"{traceback}buchner: error: {error}", err=True)
        ctx.exit(error.exit_status)
