"""`buchner waf`: the firewall's rules, what they say of a request, and what its audit log says."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buchner.errors import BuchnerError

if TYPE_CHECKING:
    from buchner.waf.message import Request

_FILE = click.Path(exists=True, dir_okay=False)
_LOG = click.option(
    "--log", "audit_log", type=_FILE, envvar="BUCHNER_WAF_LOG", required=True,
    help="The audit log, JSON. [env: BUCHNER_WAF_LOG]",
)  # fmt: skip


@click.group()
def waf() -> None:
    """Install the Core Rule Set, test requests, and read the firewall's audit log."""


@waf.command()
@click.argument("source", metavar="PATH|URL")
@click.option("--signature", metavar="PATH|URL", help="The detached signature. [default: PATH|URL with .asc]")
@click.option("--key", type=_FILE, help="The public key of the release. [default: that in your gpg keyring]")
@click.option("--fingerprint", help="The key that has to have signed it. [default: that of the Core Rule Set]")
@click.option(
    "--directory", type=click.Path(file_okay=False), help="Where to put it. [default: where it is looked for]"
)
def install(
    source: str, signature: str | None, key: str | None, fingerprint: str | None, directory: str | None
) -> None:
    """Verify a release archive of the OWASP Core Rule Set, and put it where it is found.

    Your crs-setup.conf and exclusion files there stay. If the rules don't load, everything stays as it was.
    """
    from buchner.waf import install as installing
    from buchner.waf.crs import installed_directory

    archive = installing.fetch(source)
    signed = installing.fetch(signature or f"{source}.asc")
    wanted = fingerprint or installing.FINGERPRINT
    installing.verify(archive, signed, key=Path(key) if key else None, fingerprint=wanted)
    target = Path(directory) if directory else installed_directory()
    count = installing.install(archive, target)
    click.echo(f"{target}: {count} rules, signed by {wanted}")


def _request(what: str, method: str | None, headers: tuple[str, ...], data: str | None) -> Request:
    from buchner.waf.message import Request

    if "://" not in what:
        if method or headers or data is not None:
            raise click.UsageError("--method, --header and --data are for a URL: a file has all of its request")
        try:
            return Request.from_bytes(Path(what).read_bytes(), what)
        except OSError as error:
            raise BuchnerError(f"cannot read {what}: {error.strerror}") from error
    pairs = []
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon:
            raise click.UsageError(f"--header {header!r}: write it as 'Name: value'")
        pairs.append((name.strip(), value.strip()))
    return Request.from_url(what, method or ("GET" if data is None else "POST"), pairs, data or "")


@waf.command()
@click.argument("what", metavar="FILE|URL")
@click.option("--crs", type=click.Path(exists=True, file_okay=False), help="Directory of the Core Rule Set.")
@click.option("--rules", type=_FILE, multiple=True, help="Files of rules instead of the Core Rule Set.")
@click.option("--before", type=_FILE, multiple=True, help="Files of rules before the Core Rule Set.")
@click.option("--after", type=_FILE, multiple=True, help="Files of rules after the Core Rule Set.")
@click.option("--paranoia", type=click.IntRange(1, 4), help="Paranoia level. [default: that of crs-setup.conf, or 1]")
@click.option("--threshold", type=click.IntRange(1), help="Score from which on requests are blocked.")
@click.option("-X", "--method", help="The method for a URL. [default: GET, with --data POST]")
@click.option("-H", "--header", "headers", multiple=True, help="A header for a URL: 'Name: value'.")
@click.option("-d", "--data", help="A body for a URL.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def test(  # noqa: PLR0913, PLR0917 - the flags
    what: str, crs: str | None, rules: tuple[str, ...], before: tuple[str, ...], after: tuple[str, ...],
    paranoia: int | None, threshold: int | None, method: str | None, headers: tuple[str, ...], data: str | None,
    *, as_json: bool,
) -> int:  # fmt: skip
    """Say whether a request would be blocked, and why. Nothing is sent.

    FILE has a request as it goes over the wire: request line, headers, an empty line, the body. A URL stands for the
    request of a browser. Exit status: 0 it passes, 1 it would be blocked.
    """
    from buchner.waf.engine import Engine
    from buchner.waf.explain import explain
    from buchner.waf.message import readable
    from buchner.waf.record import Record

    request = _request(what, method, headers, data)
    if rules:
        if crs or before or after or paranoia or threshold:
            raise click.UsageError(
                "--rules stands alone: --crs, --before, --after, --paranoia and --threshold are of CRS"
            )
        engine = Engine.from_files(rules, mode="block")
    else:
        engine = Engine.from_crs(crs, paranoia=paranoia, inbound_threshold=threshold, before=before, after=after)
    result = engine.check(request)
    found = result.intervention
    if as_json:
        document = {
            "blocked": result.blocked,
            "intervention": asdict(found) if found else None,
            "scores": asdict(result.scores),
            "matches": [asdict(match) for match in result.matches],
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return int(result.blocked)
    record = Record(
        "request", client=request.client[0], host=readable(request.header(b"host")), method=readable(request.method),
        path=request.path, status=found.status if found else 0, blocked=result.blocked, scores=result.scores,
        matches=result.matches,
    )  # fmt: skip
    for line in list(explain(record))[1:]:
        click.echo(line)
    return int(result.blocked)


@waf.command()
@click.argument("request_id")
@_LOG
def explain(request_id: str, audit_log: str) -> None:
    """Say why a request was blocked: which rule, which part of which value, and what to write to exclude it."""
    from buchner.waf import explain as explaining
    from buchner.waf.record import read

    found = next((record for record in read(audit_log) if record.id == request_id), None)
    if found is None:
        raise BuchnerError(
            f"{audit_log} has no request {request_id}: no rule matched it, or the log that has it was rotated away"
        )
    for line in explaining.explain(found):
        click.echo(line)


@waf.command()
@click.argument("audit_log", type=_FILE)
@click.option(
    "--least", type=click.IntRange(1), default=2, show_default=True, help="Requests an exclusion has to free."
)
def tune(audit_log: str, least: int) -> None:
    """Propose the smallest exclusions for traffic in detect mode, with the number of requests each frees.

    What is proposed are two files of rules. Look at each: the log cannot tell an attack from a request that is none.
    """
    from buchner.waf import tune as tuning
    from buchner.waf.record import read

    for line in tuning.lines(*tuning.tune(read(audit_log), least=least)):
        click.echo(line)


@waf.command()
@click.argument("audit_log", type=_FILE)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), default="waf.html", show_default=True, help="The page."
)
def report(audit_log: str, output: str) -> None:
    """Write a page with pictures: hits by rule, path and address, score over time."""
    from buchner.waf.record import read
    from buchner.waf.report import report as page

    text = page(read(audit_log), f"Firewall report: {os.path.basename(audit_log)}")
    try:
        Path(output).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise BuchnerError(f"cannot write {output}: {error.strerror}") from error
    click.echo(output)
