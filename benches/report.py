"""Tables in Markdown: ratios first, because times hold for one machine only."""

from __future__ import annotations

import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from measure import TICK, Round
from servers import VENV

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFACE = """\
# Benchmarks

Written by `make bench`, not by hand. All figures of a table come from one run in which the servers took turns; each
server had core 0 to itself, the load generator (wrk) and the upstream had core 1. CPU is user and system time of all
processes of a server, divided by the requests it answered; medians of {rounds} rounds of {seconds} s. Process times are
counted in ticks of {tick:.0f} ms, {share:.2f} % of a round. Ratios travel between machines better than times do;
neither is a promise.

nginx writes an access log (`buffer=64k flush=1s`), keeps upstream connections and uses sendfile and open_file_cache.
Buchner writes an access log and has its request ids and timeouts on. uWSGI (one process, no threads), gunicorn (one
gthread worker, two threads) and Granian (one blocking thread, one runtime thread) write no log.

| | |
|---|---|
{facts}
| command | `{command}` |
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A heading, the columns' names and rows of cells."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def markdown(self) -> str:
        """Return the table as Markdown."""
        lines = [f"## {self.title}", "", _row(self.columns), _row(("---",) * len(self.columns))]
        return "\n".join([*lines, *(_row(row) for row in self.rows)])


def rounds_table(title: str, rounds: dict[str, list[Round]]) -> Table:
    """Return the table of a scenario: each server's CPU per request, and the ratio of Buchner to it.

    The ratio's Buchner is the first that is not a rival, the last one measured being the first given.
    """
    medians = {name: median(one.cpu_us for one in values) for name, values in rounds.items()}
    ours = [name for name in medians if name not in _RIVALS]
    columns = ("", "CPU µs per request", "min to max", "requests per second", *(f"{name} ÷ this" for name in ours))
    rows = []
    for name, values in rounds.items():
        times = sorted(one.cpu_us for one in values)
        ratios = tuple(f"{medians[our] / medians[name]:.2f}" if our != name else "" for our in ours)
        errors = " (errors: " + "; ".join(sorted({one.errors for one in values if one.errors})) + ")"
        rate = f"{median(one.rate for one in values):,.0f}"
        label = name + (errors if any(one.errors for one in values) else "")
        rows.append((label, f"{medians[name]:.1f}", f"{times[0]:.1f} to {times[-1]:.1f}", rate, *ratios))
    return Table(title, columns, rows)


_RIVALS = {"nginx", "nginx + uWSGI", "nginx + gunicorn gthread", "Granian"}


def page(tables: list[Table], command: str, seconds: int, rounds: int) -> str:
    """Return the whole page."""
    facts = "\n".join(f"| {name} | {value} |" for name, value in _facts().items())
    share = 100 / (TICK * seconds)
    preface = PREFACE.format(
        rounds=rounds, seconds=seconds, tick=1000 / TICK, share=share, facts=facts, command=command
    )
    return "\n".join([preface, *(f"{table.markdown()}\n" for table in tables)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _facts() -> dict[str, str]:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cores = Path("/proc/cpuinfo").read_text().count("processor\t")
    return {
        "machine": f"{cpu[1] if cpu else platform.machine()}, {cores} cores, Linux {platform.release()}",
        "Python": platform.python_version(),
        "nginx": _version("nginx", "-v"),
        "uWSGI": _version(str(VENV / "uwsgi") if (VENV / "uwsgi").exists() else "uwsgi", "--version"),
        "gunicorn": _version(str(VENV / "gunicorn"), "--version"),
        "Granian": _version(str(VENV / "granian"), "--version"),
        "Flask": _version(
            str(VENV / "python"), "-c", "from importlib.metadata import version; print(version('flask'))"
        ),
        "wrk": _version("wrk", "-v"),
    }


def _version(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "absent"
    found = re.search(r"\d+\.\d+(\.\d+)*", done.stdout + done.stderr)
    return found[0] if found else "unknown"
