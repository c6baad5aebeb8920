"""`buchner run`: everything a configuration file says."""

from __future__ import annotations

from typing import Any

import click

from buchner.cli import start
from buchner.config import load


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--user", envvar="BUCHNER_USER", help="User to become once the addresses are bound.")
@click.option("--pid-file", metavar="FILE", envvar="BUCHNER_PID_FILE", help="File the process id is written to.")
@click.option(
    "--io-threads", type=click.IntRange(1, 256), envvar="BUCHNER_IO_THREADS", help="I/O threads of the gateway."
)
@click.option("--debug", "--development", "development", is_flag=True, envvar="BUCHNER_DEVELOPMENT",
              help="Error pages show causes and tracebacks.")  # fmt: skip
@click.option("--reload", "watch", is_flag=True, envvar="BUCHNER_RELOAD", help="Reload when a file changes.")
def run(file: str, watch: bool, **flags: Any) -> int:
    """Serve what FILE says: a gateway.toml, or an nginx.conf.

    \b
    Examples:
      buchner run gateway.toml
      buchner run nginx.conf
      buchner check gateway.toml && buchner reload gateway.toml
    """
    gateway = {name: value for name, value in flags.items() if value}
    overrides = {"gateway": gateway} if gateway else {}
    return start.run(lambda: load(file, overrides), file, config_file=file, watch=watch)
