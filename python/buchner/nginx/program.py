"""`buchner nginx`, also installed as `buchner-nginx`: starts, tests and tells instances as the program nginx does.

What it prints about a configuration is in nginx's words, where other programs look for them; the line of the file and
what to do about it follow. Exit status: 0, or 1 where something is wrong.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner import stdio
from buchner.config import _generated as gen
from buchner.config.load import without_collection
from buchner.config.native import check_plan
from buchner.errors import BuchnerError, ConfigError, Problem
from buchner.nginx import command as line
from buchner.nginx.adapt import Options, adapt, resolve
from buchner.supervisor.sealed_plan import log_files

if TYPE_CHECKING:
    from pathlib import Path

    from buchner.config.model import Loaded
    from buchner.nginx.adapt import Adapted
    from buchner.nginx.command import Command, Paths

_SIGNALS = {
    "stop": signal.SIGTERM,
    "quit": signal.SIGQUIT,
    "reopen": signal.SIGUSR1,
    "reload": signal.SIGHUP,
}


def main() -> None:
    """Run the command line of this process and exit."""
    stdio.complete()
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Do what a command line says; returns the exit status."""
    try:
        command = line.parse(words)
    except line.UsageError as error:
        _say(str(error))
        return 1
    if command.help or command.version or command.configure:
        return _about(command)
    try:
        return _act(command, line.paths(command))
    except ConfigError as error:
        _say_problems(error.problems)
        return 1
    except BuchnerError as error:
        _say(f"[emerg] {error}")
        return 1


def _act(command: Command, paths: Paths) -> int:
    if command.signal is not None:
        return tell(command.signal, _pid_file(command, paths))
    return test(command, paths) if command.test else start(command, paths)


def _about(command: Command) -> int:
    from buchner import __version__  # noqa: PLC0415 - reading it takes a while

    print(f"nginx version: nginx/{line.VERSION} (buchner/{__version__})", file=sys.stderr)  # noqa: T201 - this is what it is for
    if command.help:
        print(f"\n{line.HELP}", end="", file=sys.stderr)  # noqa: T201
    if command.configure:
        print(f"configure arguments: {' '.join(line.configure_arguments())}", file=sys.stderr)  # noqa: T201
    return 0


def _say(text: str) -> None:
    print(f"nginx: {text}", file=sys.stderr)  # noqa: T201 - standard error is where nginx says it


def _say_problems(problems: list[Problem], level: str = "emerg") -> None:
    for problem in problems:
        head, _, shown = str(problem).partition("\n")
        if problem.line:
            _say(f"[{level}] {problem.message} in {problem.file}:{problem.line}")
        else:
            _say(f"[{level}] {head}")
        if shown:
            print(shown, file=sys.stderr)  # noqa: T201


def read(command: Command, paths: Paths) -> Adapted:
    """Read the configuration a command line means, with nginx's defaults of its files.

    Raises:
        ConfigError: the file cannot be read.

    """
    try:
        text = paths.config.read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise ConfigError(f'open() "{paths.config}" failed ({error.errno}: {error.strerror})') from error
    options = Options(prefix=paths.prefix, strict=True, before=command.directives, access_log=line.default_access_log())
    adapted = adapt(paths.config, text, options)
    document = adapted.state.document
    gateway = document.gateway = gen.Gateway() if document.gateway is UNSET else document.gateway
    gateway.daemon = adapted.main.value("daemon", True)
    if gateway.pid_file is UNSET:
        gateway.pid_file = line.default_pid()
    if gateway.error_log is UNSET and command.error_log not in (None, "stderr"):
        gateway.error_log = str(command.error_log)
    if gateway.shutdown_timeout is UNSET:
        gateway.shutdown_timeout = _NO_LIMIT
    if not any(scope.kind == "events" for scope in adapted.main.children):
        adapted.state.problems.append(Problem('no "events" section in configuration'))
    return adapted


_NO_LIMIT = 30 * 86_400
"""Seconds a graceful stop may take where no worker_shutdown_timeout is set: nginx waits as long as it takes."""


def load(adapted: Adapted) -> Loaded:
    """Load what was read.

    Raises:
        ConfigError: it cannot be used; every problem with its place.

    """
    return resolve(adapted)


def test(command: Command, paths: Paths) -> int:
    """Test a configuration (``-t``) and print the files it is made of (``-T``); returns the exit status."""
    try:
        with without_collection():
            adapted = read(command, paths)
            loaded = load(adapted)
        _say_problems(loaded.warnings, "warn")
        check_plan(loaded.plan_json().decode())
        if not command.quiet:
            _say(f"the configuration file {paths.config} syntax is ok")
        check_files(loaded)
    except ConfigError as error:
        _say_problems(error.problems)
        _say(f"configuration file {paths.config} test failed")
        return 1
    if not command.quiet:
        _say(f"configuration file {paths.config} test is successful")
    if command.dump:
        for name, source in adapted.sources.items():
            text = source.text.encode(errors="surrogateescape")
            sys.stdout.buffer.write(f"# configuration file {name}:\n".encode() + text + b"\n")
        sys.stdout.flush()
    return 0


def check_files(loaded: Loaded) -> None:
    """Open the log files and bind the addresses, as a start would; an address that is in use is in use by us.

    Raises:
        ConfigError: one of them cannot be used.

    """
    problems = []
    for path in dict.fromkeys([*log_files(loaded.plan), loaded.process.error_log]):
        if path in ("-", "stderr") or path.startswith("/dev/"):
            continue
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644))
        except OSError as error:
            problems.append(Problem(f'open() "{path}" failed ({error.errno}: {error.strerror})'))
    problems += [problem for address in loaded.listen if (problem := _bindable(address)) is not None]
    if problems:
        raise ConfigError(problems)


def _bindable(address: str) -> Problem | None:
    if address.startswith("unix:"):
        directory = os.path.dirname(address.removeprefix("unix:"))  # noqa: PTH120
        if not os.path.isdir(directory):  # noqa: PTH112
            return Problem(f"bind() to {address} failed: there is no directory {directory}")
        return None
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = found[0]
        with socket.socket(family, kind, protocol) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(where)
    except socket.gaierror:
        return Problem(f'host not found in "{address}" of the "listen" directive')
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return None
        return Problem(f"bind() to {address} failed ({error.errno}: {error.strerror})")
    return None


def _pid_file(command: Command, paths: Paths) -> Path:
    """Return the pid file of the instance; a configuration that is wrong elsewhere still names it."""
    gateway = read(command, paths).state.document.gateway
    named = UNSET if gateway is UNSET else gateway.pid_file
    return paths.prefix / (line.default_pid() if named is UNSET else named)


def tell(name: str, pid_file: Path) -> int:
    """Send a signal to the process that a pid file names; returns the exit status."""
    try:
        text = pid_file.read_text().strip()
    except OSError as error:
        _say(f'[error] open() "{pid_file}" failed ({error.errno}: {error.strerror})')
        return 1
    if not text.isdecimal() or int(text) == 0:
        _say(f'[error] invalid PID number "{text}" in "{pid_file}"')
        return 1
    try:
        os.kill(int(text), _SIGNALS[name])
    except OSError as error:
        _say(f"[alert] kill({text}, {int(_SIGNALS[name])}) failed ({error.errno}: {error.strerror})")
        return 1
    return 0


def start(command: Command, paths: Paths) -> int:
    """Serve until told to stop; returns the exit status."""
    from buchner.cli import start as starter  # noqa: PLC0415 - only a start pays for the supervisor

    def configured() -> Loaded:
        with without_collection():
            return load(read(command, paths))

    return starter.run(
        configured,
        str(paths.config),
        config_file=str(paths.config),
        nginx=True,
        error_log=command.error_log,
    )
