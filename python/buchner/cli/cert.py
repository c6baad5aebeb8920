"""`buchner cert`: certificates that are there, and what can be done with them."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buchner.errors import BuchnerError

if TYPE_CHECKING:
    from buchner.certificates.pem import Pair
    from buchner.certificates.report import Row
    from buchner.certificates.storage import Storage

REASONS = {
    "unspecified": 0,
    "key-compromise": 1,
    "affiliation-changed": 3,
    "superseded": 4,
    "cessation-of-operation": 5,
}
"""RFC 5280 section 5.3.1, those that authorities take from subscribers."""


@click.group()
@click.option(
    "--directory", type=click.Path(file_okay=False), envvar="BUCHNER_CERTIFICATES",
    help="Directory of certificates. [default: /var/lib/buchner/certificates for root, "
    "~/.local/state/buchner/certificates for others]",
)  # fmt: skip
@click.pass_context
def cert(ctx: click.Context, directory: str | None) -> None:
    """Show certificates, renew, revoke and import them, or make one for localhost."""
    ctx.obj = Path(directory) if directory else None


def _storage(ctx: click.Context) -> Storage:
    from buchner.certificates.storage import Storage

    return Storage(ctx.obj)


@cert.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """Show name, issuer, days left, next try and last error of each."""
    from buchner.certificates.report import rows

    now = time.time()
    found = rows(_storage(ctx), now)
    if as_json:
        click.echo(json.dumps([asdict(row) for row in found], indent=2))
        return
    if not found:
        click.echo("no certificates")
        return
    for line in _table(found, now):
        click.echo(line)


def _table(found: list[Row], now: float) -> list[str]:
    cells = [("name", "issuer", "days left", "stage", "next try")]
    for row in found:
        left = "-" if row.days_left is None else f"{row.days_left:.1f}"
        more = f" (+{len(row.names) - 1})" if len(row.names) > 1 else ""
        cells.append((row.name + more, row.issuer or "-", left, row.stage, _in(row.next_try, now)))
    widths = [max(len(cell[column]) for cell in cells) for column in range(5)]
    lines = []
    for number, cell in enumerate(cells):
        lines.append("  ".join(text.ljust(width) for text, width in zip(cell, widths, strict=True)).rstrip())
        if number and (error := found[number - 1].last_error):
            times = found[number - 1].failures
            lines.append(f"    {f'failed {times} times: ' if times > 1 else ''}{error}")
    return lines


def _in(moment: float, now: float) -> str:
    if not moment:
        return "-"
    left = moment - now
    if left <= 0:
        return "now"
    for unit, size in (("d", 86400), ("h", 3600)):
        if left >= size:
            return f"in {left / size:.1f} {unit}"
    return f"in {left / 60:.0f} min"


def _known(storage: Storage, name: str) -> None:
    from buchner.certificates.storage import file_name

    if file_name(name) not in storage.names():
        have = ", ".join(storage.names()) or "none"
        raise BuchnerError(f"there is no certificate {name} in {storage.root}; there are: {have}")


@cert.command()
@click.argument("names", nargs=-1, required=True)
@click.pass_context
def renew(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Have certificates renewed now, whatever is left of them, by the running instance."""
    storage = _storage(ctx)
    for name in names:
        _known(storage, name)
        state = storage.state(name)
        if state.imported or not state.names:
            raise BuchnerError(f"{name} was imported: import the new one with `buchner cert import`")
    for name in names:
        storage.wish_renewal(name)
    when = "is renewed now" if storage.is_kept else "is renewed when an instance that keeps it is started"
    for name in names:
        click.echo(f"{name} {when}; `buchner cert list` shows how it went")


@cert.command()
@click.argument("name")
@click.option("--reason", type=click.Choice(list(REASONS)), default="unspecified", help="Told to the authority.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def revoke(ctx: click.Context, name: str, reason: str, *, yes: bool) -> None:
    """Revoke a certificate: browsers refuse it from then on. A new one, with a new key, is ordered."""
    from buchner.certificates.challenges import Solvers
    from buchner.certificates.client import Client
    from buchner.certificates.clock import WallClock
    from buchner.certificates.settings import Issuer

    storage = _storage(ctx)
    _known(storage, name)
    state, pair = storage.state(name), storage.read(name)
    if pair is None or not state.authority:
        raise BuchnerError(f"{name} was not issued to this directory: revoke it with whom it was issued to")
    if not yes:
        click.confirm(f"Revoke the certificate of {', '.join(pair.names)} by {pair.issuer}?", abort=True)
    issuer = Issuer(url=state.authority, roots=state.roots).resolved()
    Client(issuer, storage, Solvers(), WallClock()).revoke(pair.leaf(), REASONS[reason])
    storage.wish_renewal(name)
    when = "a new one is ordered now" if storage.is_kept else "a new one is ordered at the next start"
    click.echo(f"{name}: revoked; {when}")


@cert.command("import")
@click.argument("certificate", type=click.Path(exists=True, dir_okay=False))
@click.argument("key", type=click.Path(exists=True, dir_okay=False))
@click.option("--name", help="What it is called. [default: its first name]")
@click.option("--password-file", type=click.Path(exists=True, dir_okay=False), help="Passwords of the key, one a line.")
@click.pass_context
def import_(ctx: click.Context, certificate: str, key: str, name: str | None, password_file: str | None) -> None:
    """Check a certificate and its key, PEM, and keep them. It is not renewed; the log warns before it ends."""
    from buchner.certificates.names import normalise
    from buchner.certificates.pem import load_pair, read_passwords
    from buchner.certificates.state import Stage, State

    pair = load_pair(certificate, key, read_passwords(password_file) if password_file else ())
    _warn(pair)
    if not name and not pair.names:
        raise BuchnerError(f"{certificate} has no name: give it one with --name")
    called = normalise(name or pair.names[0])
    storage = _storage(ctx)
    with storage.lock(f"certificate-{called}", wait=True):
        storage.write(called, pair)
        storage.save_state(called, State(names=[called], stage=Stage.FIXED, imported=True))
    days = (pair.not_after - time.time()) / 86400
    click.echo(f"{called}: imported, {', '.join(pair.names) or 'no names'}, {days:.1f} days left")


def _warn(pair: Pair) -> None:
    for warning in pair.warnings:
        click.echo(f"warning: {warning}", err=True)


@cert.command()
@click.argument("names", nargs=-1)
@click.pass_context
def local(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Make a certificate for localhost and NAMES by an authority of this machine, for development."""
    from buchner.certificates.authority import Authority

    storage = _storage(ctx)
    authority = Authority(storage)
    pair = authority.issue(names)
    live = storage.root / "live" / "localhost"
    click.echo(f"{', '.join(pair.names)}:\n  {live / 'fullchain.pem'}\n  {live / 'privkey.pem'}\n")
    click.echo(authority.how_to_trust())
