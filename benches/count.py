#!/usr/bin/env python3
"""Count what a request costs the gateway and nginx: instructions (valgrind's callgrind) and system calls (strace).

    benches/count.py                        every scenario, printed
    benches/count.py --only proxy --keep d  leaves callgrind's output in d, for callgrind_annotate

Unlike times, counts hardly differ between runs and machines. One connection asks one request after the other; with
--connections many ask at once, and share what is done for several (a wake-up). The kernel's part of a system call
is not in the counts.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import measure
import report
import servers
from run import SCENARIOS, upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servers import Task

WARM_UP = 100
"""Requests before counting: pools are filled, files are cached."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A process whose instructions are counted.

    Args:
        name: as the table has it.
        command: makes the command that serves a task on a port, from a directory and callgrind's command; of several
            the last one listens.
        marks: words of the command line by which its process is found.
    """

    name: str
    commands: Callable[[Task, int, Path, list[str]], list[list[str]]]
    marks: str


@dataclass(frozen=True, slots=True)
class Count:
    """What one request cost a process."""

    instructions: float
    system_calls: float


def _buchner(task: Task, port: int, directory: Path, under: list[str]) -> list[list[str]]:
    (command,) = servers.buchner([])(task, port, directory)
    python = str(Path(servers.default_buchner()[0]).with_name("python"))
    return [[python, str(servers.HERE / "counted.py"), *command, *under]]


def _nginx(task: Task, port: int, directory: Path, under: list[str]) -> list[list[str]]:
    (command,) = servers.nginx(task, port, directory)
    # One process, which does what a worker does.
    command[-1] += " master_process off;"
    return [[*under, *command]]


def _nginx_before_uwsgi(task: Task, port: int, directory: Path, under: list[str]) -> list[list[str]]:
    uwsgi, nginx = servers.nginx_uwsgi(task, port, directory)
    nginx[-1] += " master_process off;"
    return [uwsgi, [*under, *nginx]]


NGINX = Subject("nginx", _nginx, "nginx")
BUCHNER = Subject("Buchner", _buchner, "buchner.gateway")
SUBJECTS = {
    "proxy": [NGINX, BUCHNER],
    "site": [NGINX, BUCHNER],
    "file1k": [NGINX, BUCHNER],
    # What the app's processes do is not in these.
    "wsgi": [Subject("nginx before uWSGI", _nginx_before_uwsgi, "nginx"), BUCHNER],
}


def _process(roots: list[int], under: str, marks: str) -> int:
    """Return the process whose command line has a word that ends so, under valgrind if it is to be."""
    for pid in measure.tree(*roots):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        counted = Path(f"/proc/{pid}/exe").readlink().name.startswith("callgrind-")
        if counted == (under == "valgrind") and any(word.endswith(marks) for word in words[:-1]):
            return pid
    raise RuntimeError(f"no process of it has {marks!r} in its command line")


def _control(pid: int, *words: str) -> None:
    """Tell callgrind something; it answers once that is done."""
    command = ["callgrind_control", *words, str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode or "OK" not in done.stdout:
        raise RuntimeError(f"callgrind_control {words}: {done.stdout}{done.stderr}")


@contextmanager
def _asking(port: int, load: measure.Load, connections: int = 1) -> Iterator[Callable[[int], None]]:
    """Yield what asks for the same thing some times over so many connections, all of them at once."""
    lines = [f"GET {load.path} HTTP/1.1", f"Host: {load.host}", *measure.BROWSER_HEADERS, *load.headers]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)) for _ in range(connections)]

        def ask(times: int) -> None:
            for first in range(0, times, connections):
                asked = opened[: times - first]
                for connection in asked:
                    connection.sendall(request)
                for connection in asked:
                    status = measure.read_response(connection)
                    if status != HTTPStatus.OK:
                        raise RuntimeError(f"it responded with {status}")

        yield ask


def _await(port: int, load: measure.Load) -> None:
    """Wait until the app after the server responds as well."""
    deadline = time.monotonic() + servers.START_DEADLINE
    while True:
        try:
            with _asking(port, load) as ask:
                return ask(1)
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _system_calls(pid: int, ask: Callable[[], None]) -> int:
    """Return how many system calls a process makes meanwhile."""
    with tempfile.NamedTemporaryFile("r") as output:
        strace = subprocess.Popen(["strace", "-f", "-c", "-o", output.name, "-p", str(pid)], stderr=subprocess.PIPE)
        if strace.stderr is None or b"attached" not in strace.stderr.readline():
            raise RuntimeError("strace could not attach")
        ask()
        strace.terminate()
        strace.wait()
        total = re.search(r"^100\.00 +\S+ +\S+ +(\d+)", output.read(), re.MULTILINE)
    if total is None:
        raise RuntimeError("strace counted nothing")
    return int(total[1])


@contextmanager
def _running(subject: Subject, task: Task, load: measure.Load, under: list[str]) -> Iterator[tuple[int, int]]:
    """Run a subject until it responds; yields its port and the process that is counted."""
    with tempfile.TemporaryDirectory(prefix="buchner-count-") as made:
        directory = Path(made)
        directory.chmod(0o755)
        port = servers.free_port()
        commands = subject.commands(task, port, directory, under)
        running = servers.start(subject.name, commands, port, directory)
        try:
            _await(port, load)
            yield port, _process(running.pids, under[0], subject.marks)
        finally:
            running.stop()


def count(subject: Subject, name: str, arguments: argparse.Namespace, places: tuple[int, Path, Path]) -> Count:
    """Run one scenario against one process.

    Args:
        subject: the process.
        name: of the scenario.
        arguments: how many requests are counted, and over how many connections.
        places: port of the upstream, directory of the files, directory for callgrind's output.
    """
    up, files, output = places
    requests, connections = arguments.requests, arguments.connections
    warm_up = max(WARM_UP, 4 * connections)
    scenario = SCENARIOS[name]
    task = scenario.task(up, files)
    stem = output / f"{name}.{subject.name.replace(' ', '-')}"
    under = [
        "valgrind",
        "--tool=callgrind",
        "--instr-atstart=no",
        "-q",
        f"--callgrind-out-file={stem}",
        *(f"--{option}" for option in arguments.callgrind),
    ]
    with _running(subject, task, scenario.load, under) as (port, pid), _asking(port, scenario.load, connections) as ask:
        _control(pid, "-i", "on")
        ask(warm_up)
        _control(pid, "-z")
        ask(requests)
        _control(pid, "-d")
    totals = re.search(r"^totals: (\d+)", Path(f"{stem}.1").read_text(errors="replace"), re.MULTILINE)
    if totals is None:
        raise RuntimeError("callgrind wrote no totals")
    with (
        _running(subject, task, scenario.load, ["env"]) as (port, pid),
        _asking(port, scenario.load, connections) as ask,
    ):
        ask(warm_up)
        system_calls = _system_calls(pid, lambda: ask(requests))
    return Count(int(totals[1]) / requests, system_calls / requests)


def _table(name: str, counts: dict[str, Count]) -> report.Table:
    rows = [(who, f"{each.instructions:,.0f}", f"{each.system_calls:.1f}") for who, each in counts.items()]
    if len(counts) > 1:
        theirs, ours = counts.values()
        ratio = f"{ours.instructions / theirs.instructions:.2f}", f"{ours.system_calls / theirs.system_calls:.2f}"
        rows.append(("Buchner ÷ nginx", *ratio))
    return report.Table(SCENARIOS[name].title, ("per request", "instructions", "system calls"), rows)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS), help="scenarios")
    parser.add_argument("--who", nargs="+", default=[""], help="subjects whose names have one of these in them")
    parser.add_argument("--requests", type=int, default=500, help="requests that are counted (default: 500)")
    parser.add_argument("--connections", type=int, default=1, help="connections that ask at once (default: 1)")
    parser.add_argument("--callgrind", nargs="+", default=[], help="options for it, as cache-sim=yes", metavar="OPTION")
    parser.add_argument("--seconds", type=float, default=600, help="begin nothing after this time (default: 600)")
    parser.add_argument("--keep", type=Path, help="directory for callgrind's output")
    return parser.parse_args()


def _counts(name: str, arguments: argparse.Namespace, until: float, places: tuple[int, Path, Path]) -> dict[str, Count]:
    """Count one scenario, saying what can't be had."""
    counts = {}
    for subject in SUBJECTS[name]:
        if not any(part in subject.name for part in arguments.who):
            continue
        if time.monotonic() > until:
            print(f"{name}: {subject.name} left out: the time is up", file=sys.stderr)
            continue
        try:
            counts[subject.name] = count(subject, name, arguments, places)
        except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"{name}: {subject.name} left out: {error}", file=sys.stderr)
    return counts


def main() -> int:
    """Count what the command line asks for."""
    arguments = _parse()
    if not shutil.which("callgrind_control") or not shutil.which("strace"):
        print("valgrind or strace is not installed: nothing is counted", file=sys.stderr)
        return 0
    until = time.monotonic() + arguments.seconds
    print(f"With the {'ci' if (servers.ROOT / '.venv' / '.ci').exists() else 'release'} wheel.\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="buchner-count-") as made:
        files = Path(made) / "files"
        files.mkdir()
        Path(made).chmod(0o755)
        (files / "1k.html").write_bytes(b"x" * 1024)
        output = (arguments.keep or Path(made)).resolve()
        output.mkdir(exist_ok=True)
        with upstream(Path(made)) as up:
            for name in arguments.only:
                counts = _counts(name, arguments, until, (up, files, output))
                print(f"{_table(name, counts).markdown()}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
