"""`buchner status`: what runs, and how busy it is."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from buchner.supervisor import registry


@click.command()
@click.argument("instance", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def status(instance: str | None, as_json: bool) -> None:
    """Show the processes of a running instance and its counters. INSTANCE is a pid, a file or an app."""
    answer = registry.ask(registry.find(instance), "status", 10.0)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    for line in table(answer):
        click.echo(line)


def table(answer: dict[str, Any]) -> list[str]:
    """The lines a person reads."""
    activity = f", {answer['activity']}" if answer["activity"] else ""
    up = _span(time.time() - answer["started_at"])
    lines = [
        f"{answer['title']} on {' and '.join(answer['addresses'])}",
        f"  Buchner {answer['version']}, pid {answer['pid']}, up {up}{activity}",
    ]
    gateway = answer["gateway"]
    lines += [
        f"  gateway {process['id']}: pid {process['pid']}, {process['state']}, up {_span(process['age'])}"
        for process in answer["gateways"]
    ]
    counters = ", ".join(f"{gateway[name]} {name}" for name in ("connections", "requests") if name in gateway)
    if counters:
        lines.append(f"    {counters}")
    for name, pool in answer["pools"].items():
        busy = _counters(gateway.get("pools"), name)
        lines.append(f"  app {name}: {pool['target']}, {pool['threads']} threads a worker{busy}")
        lines += [
            f"    worker {worker['id']}: pid {worker['pid']}, {worker['state']}, up {_span(worker['age'])}"
            for worker in pool["workers"]
        ]
    return lines


def _counters(pools: Any, name: str) -> str:
    counters = pools.get(name) if isinstance(pools, dict) else None
    if not isinstance(counters, dict):
        return ""
    return "".join(f", {value} {key}" for key, value in counters.items() if isinstance(value, int))


def _span(seconds: float) -> str:
    whole = int(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= size:
            return f"{whole / size:.1f} {unit}"
    return f"{whole} s"
