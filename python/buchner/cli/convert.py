"""`buchner convert`: an nginx.conf as a gateway.toml."""

from __future__ import annotations

from pathlib import Path

import click

from buchner.config.load import is_toml, read_bytes
from buchner.errors import ConfigError


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="File to write. [default: standard output]")
def convert(file: str, output: str | None) -> None:
    """Print the gateway.toml that means the same as an nginx.conf, with its comments.

    Relative names start at the directory of either file, so put the one where the other is.

    \b
    Examples:
      buchner convert nginx.conf > gateway.toml
      buchner convert nginx.conf -o gateway.toml && buchner check gateway.toml
    """
    from buchner.nginx.adapt import adapt, resolve
    from buchner.nginx.convert import convert as converted

    path = Path(file)
    content = read_bytes(path)
    if is_toml(path, content):
        raise ConfigError(f"{file} is a gateway.toml already")
    adapted = adapt(path, content.decode(errors="surrogateescape"))
    text = converted(adapted)
    for warning in resolve(adapted).warnings:
        click.echo(f"warning: {warning}", err=True)
    if output is None:
        click.echo(text, nl=False)
    else:
        Path(output).write_text(text)
