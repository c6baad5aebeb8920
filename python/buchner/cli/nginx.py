"""`buchner nginx`: nginx's own command line."""

from __future__ import annotations

import click

_AS_WRITTEN = {"ignore_unknown_options": True, "help_option_names": []}


@click.command(context_settings=_AS_WRITTEN, add_help_option=False)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def nginx(words: tuple[str, ...]) -> int:
    """Be nginx: its command line, its signals, its messages. `buchner nginx -h` shows the flags.

    \b
    Examples:
      buchner nginx -t
      buchner nginx -c /etc/nginx/nginx.conf -g "daemon off;"
      buchner nginx -s reload
    """
    from buchner.nginx import program

    return program.run(list(words))
