#!/usr/bin/env python3
"""Measure what running an app costs beside its requests, against gunicorn (one gthread worker, two threads).

    benches/worker.py                                          everything, five rounds
    benches/worker.py --only stream worker_memory --rounds 9
    benches/worker.py --server-cmd "old=../old/.venv/bin/buchner serve" --server-cmd ".venv/bin/buchner serve"

| scenario | what |
|---|---|
| stream | 300 MB out of a generator, read by one plain client: wall time and CPU time of the server's processes |
| worker_memory | PSS of a worker of a Flask hello that has answered 100 requests |
| first_response | time from the start of the command to the first response, and the CPU time until then |

The servers take turns within a round; medians are compared. Nothing is pinned to a core: a server may use them all.
"""

from __future__ import annotations

import argparse
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import measure
import servers
from report import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

Commands = dict[str, list[str]]
"""A server's name and its command, to which `--bind ADDRESS --workers 1 --threads 2 APP` is added."""
Figures = dict[str, list[tuple[float, ...]]]
"""What was measured of each server, a tuple for each round."""

PIECES = (65536, 4096)
LEAST = 299_000_000
"""Bytes of a response that is whole: 300 MB, less what does not fill a piece."""
WARM_UP = 100
DEADLINE = 60.0


def spawn(command: list[str], app: str, port: int, output: Path) -> subprocess.Popen[bytes]:
    """Start a server with one worker of two threads."""
    words = [*command, "--bind", f"127.0.0.1:{port}", "--workers", "1", "--threads", "2", app]
    with output.open("wb") as log:
        return subprocess.Popen(words, stdout=log, stderr=log, cwd=servers.HERE / "apps")


def first_response(process: subprocess.Popen[bytes], port: int) -> None:
    """Ask until the server answers 200.

    Raises:
        RuntimeError: it ended, or did not answer in time.
    """
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as sock:
                sock.sendall(b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                if sock.recv(12).startswith(b"HTTP/1.1"):
                    return
        except OSError:
            pass
        time.sleep(0.002)
    raise RuntimeError(f"{shlex.join(map(str, process.args))} did not answer")  # type: ignore[arg-type]


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def serving(command: list[str], app: str) -> Iterator[tuple[int, int]]:
    """Run a server until the block ends; yields the pid of its first process and its port."""
    port = servers.free_port()
    with tempfile.TemporaryDirectory(prefix="buchner-bench-") as made:
        process = spawn(command, app, port, Path(made) / "out")
        try:
            first_response(process, port)
            yield process.pid, port
        finally:
            stop(process)


def fetch(port: int, path: str) -> int:
    """Make a request as a plain client does; returns the bytes that came."""
    buffer, total = bytearray(1 << 18), 0
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        while count := sock.recv_into(buffer):
            total += count
    return total


def stream(commands: Commands, size: int, rounds: int) -> Table:
    """Compare wall and CPU seconds of a response of 300 MB in pieces of `size` bytes."""
    figures: Figures = {name: [] for name in commands}
    for number in range(rounds):
        for name, command in commands.items():
            with serving(command, "pieces:app") as (pid, port):
                fetch(port, f"/{size}")
                pids = measure.tree(pid)
                cpu, began = measure.run_seconds(pids), time.perf_counter()
                total = fetch(port, f"/{size}")
                taken = time.perf_counter() - began
                spent = measure.run_seconds(pids) - cpu
            if total < LEAST:
                raise RuntimeError(f"{name} sent {total} bytes")
            figures[name].append((taken, spent))
            print(f"  round {number + 1} {name:10} {taken:.3f} s, CPU {spent:.3f} s", flush=True)
    return table(f"Response of 300 MB in pieces of {size} bytes", ("wall, s", "CPU, s"), figures)


def worker_memory(commands: Commands, rounds: int) -> Table:
    """Compare the PSS of a worker in MiB."""
    figures: Figures = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            with serving(command, "hello:app") as (pid, port):
                for _ in range(WARM_UP):
                    fetch(port, "/")
                worker = _worker(pid)
                figures[name].append((measure.pss_kib(worker) / 1024, measure.pss_anonymous_kib(worker) / 1024))
                print(f"  {name:10} {figures[name][-1][0]:.2f} MiB, anonymous {figures[name][-1][1]:.2f}", flush=True)
    return table("PSS of a worker with a Flask hello", ("MiB", "anonymous, MiB"), figures, difference=True)


def _worker(root: int) -> int:
    """Return the process that has imported the app: the last one that was started, and not the gateway."""
    others = [pid for pid in measure.tree(root) if pid != root]
    return max(pid for pid in others if b"buchner.gateway" not in Path(f"/proc/{pid}/cmdline").read_bytes())


def start_up(commands: Commands, rounds: int) -> Table:
    """Compare the seconds until the first response."""
    figures: Figures = {name: [] for name in commands}
    for number in range(rounds):
        for name, command in commands.items():
            port, began = servers.free_port(), time.perf_counter()
            with tempfile.TemporaryDirectory(prefix="buchner-bench-") as made:
                process = spawn(command, "hello:app", port, Path(made) / "out")
                try:
                    first_response(process, port)
                    taken = time.perf_counter() - began
                    spent = measure.run_seconds(measure.tree(process.pid))
                finally:
                    stop(process)
            figures[name].append((taken, spent))
            print(f"  round {number + 1} {name:10} {taken:.3f} s, CPU {spent:.3f} s", flush=True)
    return table("From the start of the command to the first response", ("wall, s", "CPU, s"), figures, difference=True)


def table(title: str, columns: tuple[str, ...], figures: Figures, *, difference: bool = False) -> Table:
    """Return the medians, and what each is of the first server's: a ratio, or a difference."""
    medians = {name: [median(row[at] for row in rows) for at in range(len(columns))] for name, rows in figures.items()}
    first, *others = medians
    rows = []
    for name, values in medians.items():
        against = [
            (f"{value - base:+.2f}" if difference else f"{value / base:.2f}") if name in others else ""
            for value, base in zip(values, medians[first], strict=True)
        ]
        rows.append((name, *(f"{value:.3f}" for value in values), *against))
    sign = "−" if difference else "÷"
    return Table(title, ("", *columns, *(f"{column} {sign} {first}" for column in columns)), rows)


def parse() -> tuple[argparse.Namespace, Commands]:
    """Read the command line."""
    known = ["stream", "worker_memory", "first_response"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=known, default=known, help="scenarios (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per server (default: 5)")
    parser.add_argument("--server-cmd", action="append", metavar="[NAME=]COMMAND", help="a `buchner serve`; repeatable")
    arguments = parser.parse_args()
    own, bench = servers.ROOT / ".venv" / "bin", servers.VENV
    gunicorn = bench / "gunicorn" if (bench / "gunicorn").exists() else own / "gunicorn"
    commands: Commands = {"gunicorn": [str(gunicorn), "--worker-class", "gthread"]}
    for given in arguments.server_cmd or [shlex.join([servers.default_buchner()[0], "serve"])]:
        name, separator, command = given.partition("=")
        if not separator or " " in name:
            name, command = "Buchner", given
        commands[name] = [str(Path(word).absolute()) if "/" in word else word for word in shlex.split(command)]
    return arguments, commands


def main() -> int:
    """Run what the command line asks for."""
    arguments, commands = parse()
    tables = []
    for name in arguments.only:
        print(name, flush=True)
        if name == "stream":
            tables += [stream(commands, size, arguments.rounds) for size in PIECES]
        elif name == "worker_memory":
            tables.append(worker_memory(commands, arguments.rounds))
        else:
            tables.append(start_up(commands, arguments.rounds))
    print()
    for one in tables:
        print(one.markdown(), end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
