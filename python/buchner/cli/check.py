"""`buchner check`: is a configuration file right, and what becomes of each directive of an nginx.conf?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from buchner.config.load import is_toml, load, read_bytes, without_collection
from buchner.config.native import check_plan
from buchner.errors import ConfigError, Problem

if TYPE_CHECKING:
    from buchner.config.model import Loaded
    from buchner.nginx.scope import Verdict


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def check(file: str, as_json: bool) -> int:
    """Check a configuration file and show every problem with its place. Nothing is started or changed.

    Of an nginx.conf it also shows what becomes of each directive: supported, accepted without effect (and why that
    is safe), or refused (and why). The exit status is 2 if the file cannot be used.
    """
    loaded, verdicts, problems = _load(Path(file))
    if as_json:
        click.echo(json.dumps(_document(file, loaded, verdicts, problems), indent=2))
        return 2 if problems else 0
    for warning in loaded.warnings if loaded else ():
        click.echo(f"warning: {warning}", err=True)
    if verdicts is not None:
        from buchner.nginx import judgement

        click.echo(f"{file}: {judgement.summary(verdicts)}")
        for line in judgement.lines(verdicts, file):
            click.echo(line)
    if problems or loaded is None:
        raise ConfigError(problems)
    servers, apps = len(loaded.plan.get("server", [])), len(loaded.app)
    click.echo(f"{file} is right: {servers} server{'s' * (servers != 1)}, {apps} app{'s' * (apps != 1)}")
    return 0


def _load(path: Path) -> tuple[Loaded | None, list[Verdict] | None, list[Problem]]:
    """Load a file; returns what came of it, what became of its directives if it is an nginx.conf, and the problems."""
    loaded, verdicts = None, None
    try:
        content = read_bytes(path)
        if is_toml(path, content):
            loaded = load(path, {})
        else:
            from buchner.nginx.adapt import adapt, resolve

            with without_collection():
                adapted = adapt(path, content.decode(errors="surrogateescape"))
                verdicts = adapted.state.verdicts
                loaded = resolve(adapted)
        check_plan(loaded.plan_json().decode())
    except ConfigError as error:
        return loaded, verdicts, error.problems
    return loaded, verdicts, []


def _document(
    file: str, loaded: Loaded | None, verdicts: list[Verdict] | None, problems: list[Problem]
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "file": file,
        "right": not problems,
        "problems": [_problem(problem) for problem in problems],
        "warnings": [_problem(warning) for warning in (loaded.warnings if loaded else [])],
    }
    if verdicts is not None:
        from buchner.nginx import judgement

        document["directives"] = judgement.as_json(verdicts)
        document["summary"] = judgement.counts(verdicts)
    return document


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "message": problem.message,
        "where": problem.where,
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
    }
