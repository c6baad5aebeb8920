"""`buchner check`: is a configuration file right?"""

from __future__ import annotations

import click

from buchner.config import load


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
def check(file: str) -> None:
    """Check a configuration file and show every problem with its place. Nothing is started or changed."""
    loaded = load(file, {})
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    servers, apps = len(loaded.plan.get("server", [])), len(loaded.app)
    click.echo(f"{file} is right: {servers} server{'s' * (servers != 1)}, {apps} app{'s' * (apps != 1)}")
