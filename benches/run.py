#!/usr/bin/env python3
"""Measure Buchner side by side with nginx, uWSGI, gunicorn and Granian, all in one run.

    benches/run.py                                          everything; writes docs/benchmarks.md
    benches/run.py --only proxy --seconds 4 --rounds 3      one scenario, printed
    benches/run.py --only proxy --server-cmd "old=../old/.venv/bin/buchner run" --server-cmd ".venv/bin/buchner run"

Servers run on core 0, wrk and the upstream on core 1. The servers of a scenario are all started, then driven in turn,
`--rounds` times; medians are compared. Two cores are needed, three are better.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import measure
import report
import servers
from measure import Load, Round
from servers import Running, Starter, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Scenario:
    """A thing to compare.

    Args:
        title: heading of its table.
        rivals: what Buchner is compared with; the first is the one ratios refer to.
        task: makes the task from the upstream's port and the files' directory.
        load: what is asked.
    """

    title: str
    rivals: dict[str, Starter]
    task: Callable[[int, Path], Task]
    load: Load


@dataclass(slots=True)
class Options:
    """What the command line says."""

    seconds: int
    rounds: int
    buchners: dict[str, Starter]


NGINX: dict[str, Starter] = {"nginx": servers.nginx}
APPS: dict[str, Starter] = {
    "nginx + uWSGI": servers.nginx_uwsgi,
    "nginx + gunicorn gthread": servers.nginx_gunicorn,
    "Granian": servers.granian,
}

ROOT = Load("/")

SCENARIOS = {
    "proxy": Scenario(
        "Proxied request, keep-alive, 65-byte body", NGINX, lambda up, _: Task("proxy", upstream=up), ROOT
    ),
    "site": Scenario(
        "Proxied request, the same nginx.conf of 300 lines",
        NGINX,
        lambda up, _: Task("site", upstream=up),
        Load("/api/v2/items/4711", headers=("X-Forwarded-For: 198.51.100.7", "Origin: https://shop.example.com")),
    ),
    "wsgi": Scenario("Raw WSGI, 65-byte body, one worker", APPS, lambda _u, _f: Task("app", app="raw"), ROOT),
    "flask": Scenario("Flask hello, 65-byte body, one worker", APPS, lambda _u, _f: Task("app", app="hello"), ROOT),
    "file1k": Scenario("File of 1 KB", NGINX, lambda _, files: Task("files", files=files), Load("/1k.html")),
    "file1m": Scenario("File of 1 MB", NGINX, lambda _, files: Task("files", files=files), Load("/1m.bin", 16)),
    "relay1m": Scenario(
        "Relay of a 1 MB upstream body", NGINX, lambda up, _: Task("proxy", upstream=up), Load("/1m", 16)
    ),
}
OTHERS = ("idle", "routes")
IDLE_CONNECTIONS = 4000
MANY = 10_000


@contextmanager
def upstream(directory: Path) -> Iterator[int]:
    """Build and run the upstream on core 1; yields its port."""
    binary = directory / "upstream"
    source = servers.HERE / "upstream.c"
    subprocess.run(["cc", "-O2", str(source), "-o", str(binary)], check=True)
    port = servers.free_port()
    process = subprocess.Popen(["taskset", "-c", "1", str(binary), str(port)])
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


@contextmanager
def running(name: str, starter: Starter, task: Task) -> Iterator[Running]:
    """Run a server in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="buchner-bench-") as made:
        directory = Path(made)
        directory.chmod(0o755)
        if os.geteuid() == 0:
            subprocess.run(["chown", "nobody", made], check=True)
        port = servers.free_port()
        server = servers.start(name, starter(task, port, directory), port, directory)
        try:
            yield server
        finally:
            server.stop()


def all_running(stack: ExitStack, starters: dict[str, Starter], task: Task) -> list[Running]:
    """Start several servers, saying which can't be had instead of failing for all."""
    started = []
    for name, starter in starters.items():
        try:
            started.append(stack.enter_context(running(name, starter, task)))
        except (RuntimeError, FileNotFoundError) as error:
            print(f"  {name} left out: {error}", file=sys.stderr)
    return started


def compare(scenario: Scenario, options: Options, up: int, files: Path) -> report.Table:
    """Measure one scenario: CPU per request of each server, in alternating rounds."""
    rounds: dict[str, list[Round]] = {}
    with ExitStack() as stack:
        started = all_running(stack, {**scenario.rivals, **options.buchners}, scenario.task(up, files))
        for server in started:
            measure.drive(server.port, scenario.load, 1)
        for number in range(options.rounds):
            for server in started:
                made = measure.cpu_round(server.pids, server.port, scenario.load, options.seconds)
                rounds.setdefault(server.name, []).append(made)
                print(f"  round {number + 1} {server.name:26} {made.cpu_us:8.1f} µs {made.rate:9.0f}/s {made.errors}")
    return report.rounds_table(scenario.title, rounds)


def idle(options: Options, up: int) -> report.Table:
    """Measure memory per idle keep-alive connection of the proxies."""
    figures: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, starter in {**NGINX, **options.buchners}.items():
            with ExitStack() as stack:
                for server in all_running(stack, {name: starter}, Task("proxy", upstream=up)):
                    figure = measure.idle_kib(server.pids, server.port, IDLE_CONNECTIONS)
                    figures.setdefault(name, []).append(figure)
                    print(f"  {name:26} {figure:.2f} KiB")
    return report.Table(
        "Memory per idle keep-alive connection",
        ("", "private KiB"),
        [(name, f"{median(values):.2f}") for name, values in figures.items()],
    )


def routes(options: Options) -> report.Table:
    """Measure what 10,000 server names and 10,000 prefix routes cost: per request, at start, in memory."""
    rows = []
    for name, starter in {**NGINX, **options.buchners}.items():
        with ExitStack() as stack:
            one = all_running(stack, {name: starter}, Task("names", count=1))
            many = all_running(stack, {name: starter}, Task("names", count=MANY))
            if not one or not many:
                continue
            by_name = _lookup(one[0], many[0], options, "/", f"site{MANY - 1}.example")
            by_path = _lookup(one[0], many[0], options, f"/section{MANY - 1}/", "127.0.0.1")
            memory = measure.private_kib(measure.tree(*many[0].pids)) / 1024
            rows.append((name, by_name, by_path, f"{many[0].load_seconds:.2f}", f"{memory:.0f}"))
            print(f"  {rows[-1]}")
    return report.Table(
        "10,000 server names and 10,000 prefix routes",
        ("", "CPU by name, × one", "CPU by path, × one", "start, s", "memory, MiB"),
        rows,
    )


def _lookup(one: Running, many: Running, options: Options, path: str, host: str) -> str:
    """Return the CPU per request with many entries, as a multiple of that with one."""
    small_path, small_host = path.replace(str(MANY - 1), "0"), host.replace(str(MANY - 1), "0")
    for server, target, name in ((one, small_path, small_host), (many, path, host)):
        measure.drive(server.port, Load(target, host=name), 1)
    ratios = []
    for _ in range(options.rounds):
        few = measure.cpu_round(one.pids, one.port, Load(small_path, host=small_host), options.seconds)
        lots = measure.cpu_round(many.pids, many.port, Load(path, host=host), options.seconds)
        ratios.append(lots.cpu_us / few.cpu_us)
        if few.errors or lots.errors:
            raise RuntimeError(f"{many.name}: {few.errors} {lots.errors}")
    return f"{median(ratios):.2f}"


def parse() -> tuple[argparse.Namespace, Options]:
    """Read the command line."""
    known = [*SCENARIOS, *OTHERS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=known, default=known, help="scenarios (default: all)")
    parser.add_argument("--seconds", type=int, default=4, help="length of a round (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per server (default: 3)")
    parser.add_argument(
        "--server-cmd",
        action="append",
        metavar="[NAME=]COMMAND",
        help="how to start a Buchner, without the FILE.toml that is added; repeatable",
    )
    parser.add_argument("--no-buchner", action="store_true", help="measure the others only")
    parser.add_argument("--write", type=Path, help="file for the tables (default: docs/benchmarks.md if all ran)")
    arguments = parser.parse_args()
    commands: dict[str, Starter] = {}
    for given in arguments.server_cmd or ([] if arguments.no_buchner else [shlex.join(servers.default_buchner())]):
        name, separator, command = given.partition("=")
        if not separator or " " in name:
            name, command = "Buchner", given
        words = [str(Path(word).resolve()) if "/" in word else word for word in shlex.split(command)]
        commands[name] = servers.buchner(words)
    if arguments.write is None and arguments.only == known and commands:
        arguments.write = servers.ROOT / "docs" / "benchmarks.md"
    return arguments, Options(arguments.seconds, arguments.rounds, commands)


def main() -> int:
    """Run what the command line asks for."""
    arguments, options = parse()
    tables = []
    with tempfile.TemporaryDirectory(prefix="buchner-bench-") as made:
        files = Path(made) / "files"
        files.mkdir()
        Path(made).chmod(0o755)
        (files / "1k.html").write_bytes(b"x" * 1024)
        (files / "1m.bin").write_bytes(os.urandom(1 << 20))
        with upstream(Path(made)) as up:
            for name in arguments.only:
                print(name, flush=True)
                if name == "idle":
                    tables.append(idle(options, up))
                elif name == "routes":
                    tables.append(routes(options))
                else:
                    tables.append(compare(SCENARIOS[name], options, up, files))
    text = report.page(tables, shlex.join(["benches/run.py", *sys.argv[1:]]), options.seconds, options.rounds)
    print(text)
    if arguments.write:
        arguments.write.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
