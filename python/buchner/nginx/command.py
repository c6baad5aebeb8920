"""nginx's own command line: how it is read, what it prints about itself, and the paths it stands for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from buchner.nginx.directives import MODULES
from buchner.nginx.rows import Row, Status

SIGNALS = ("stop", "quit", "reopen", "reload")
_NEEDS = {
    "p": "requires directory name",
    "e": "requires file name",
    "c": "requires file name",
    "g": "requires parameter",
    "s": "requires parameter",
}
_FLAGS = {"?": "help", "h": "help", "v": "version", "V": "configure", "t": "test", "T": "dump", "q": "quiet"}
_FIELDS = {"p": "prefix", "e": "error_log", "c": "config", "g": "directives", "s": "signal"}

PREFIX = "/usr/share/nginx"
CONFIG = "/etc/nginx/nginx.conf"
VERSION = "1.31.5"
"""The nginx whose directives are known. Programs that read ``-V`` (certbot) ask for a number of nginx's."""
PID = "/run/nginx.pid"
ACCESS_LOG = "/var/log/nginx/access.log"
HELP = f"""\
Usage: buchner nginx [-?hvVtTq] [-s signal] [-p prefix] [-e filename] [-c filename] [-g directives]

Options:
  -?,-h         : this help
  -v            : show version and exit
  -V            : show version and configure options then exit
  -t            : test configuration and exit
  -T            : test configuration, dump it and exit
  -q            : suppress non-error messages during configuration testing
  -s signal     : send signal to a master process: stop, quit, reopen, reload
  -p prefix     : set prefix path (default: {PREFIX})
  -e filename   : set error log file (default: stderr)
  -c filename   : set configuration file (default: {CONFIG}; with -p conf/nginx.conf or nginx.conf there)
  -g directives : set global directives out of configuration file
"""


class UsageError(Exception):
    """A command line that nginx would not take either."""


@dataclass(slots=True)
class Command:
    """A command line.

    Args:
        prefix: ``-p``, the directory that relative names of the configuration start from.
        config: ``-c``, the configuration file.
        error_log: ``-e``, the error log of a configuration that names none.
        directives: ``-g``, directives of the main context that stand before the file's.
        signal: ``-s``, what to tell the process that runs.
        test: ``-t``.
        dump: ``-T``.
        quiet: ``-q``.
        version: ``-v``.
        configure: ``-V``.
        help: ``-h``.
    """

    prefix: str | None = None
    config: str | None = None
    error_log: str | None = None
    directives: str = ""
    signal: str | None = None
    test: bool = False
    dump: bool = False
    quiet: bool = False
    version: bool = False
    configure: bool = False
    help: bool = False


def parse(words: list[str]) -> Command:
    """Read a command line as nginx does: letters may share one word, and a value may follow its letter at once.

    Raises:
        UsageError: nginx would not take it; the message is nginx's.

    """
    command = Command()
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            raise UsageError(f'invalid option: "{word}"')
        for index, letter in enumerate(word[1:], 2):
            if letter in _FLAGS:
                setattr(command, _FLAGS[letter], True)
                continue
            if letter not in _FIELDS:
                raise UsageError(f'invalid option: "{letter}"')
            value = word[index:] or next(rest, None)
            if value is None:
                raise UsageError(f'option "-{letter}" {_NEEDS[letter]}')
            if letter == "s" and value not in SIGNALS:
                raise UsageError(f'invalid option: "-s {value}"')
            setattr(command, _FIELDS[letter], value)
            break
    command.test = command.test or command.dump
    return command


@dataclass(frozen=True, slots=True)
class Paths:
    """The files of an instance.

    Args:
        prefix: directory that relative names of the configuration start from.
        config: the configuration file; ``include`` starts from its directory.
    """

    prefix: Path
    config: Path


def paths(command: Command) -> Paths:
    """Return the paths a command line stands for."""
    prefix = Path(os.path.abspath(command.prefix or PREFIX))  # noqa: PTH100 - symbolic links stay
    if command.config is not None:
        return Paths(prefix, prefix / command.config)
    inside = (prefix / "conf" / "nginx.conf", prefix / "nginx.conf") if command.prefix else ()
    return Paths(prefix, next((path for path in inside if path.is_file()), Path(CONFIG)))


def default_pid() -> str:
    """Return the pid file of a configuration that names none: nginx's, or one in a directory of the user's own."""
    if os.geteuid() == 0:
        return PID
    from buchner.supervisor.registry import state_directory  # noqa: PLC0415 - root does not need it

    return str(state_directory() / "nginx.pid")


def default_access_log() -> str:
    """Return the access log of a configuration that names none: nginx's where it can be written, or standard output."""
    return ACCESS_LOG if os.access(os.path.dirname(ACCESS_LOG), os.W_OK) else "-"  # noqa: PTH120


_WITHOUT = (
    "access auth_basic autoindex browser charset empty_gif fastcgi geo grpc gzip limit_conn limit_req map memcached "
    "mirror proxy referer rewrite scgi split_clients ssi tunnel userid uwsgi"
)
"""Modules that nginx has unless it is told not to, by the name in ``--without-http_…_module``."""
_WITH = (
    "addition auth_request dav flv geoip gunzip gzip_static image_filter mp4 perl random_index realip secure_link "
    "slice ssl stub_status sub v2 v3 xslt"
)
"""Modules that nginx has if it is told to, by the name in ``--with-http_…_module``."""
_UPSTREAM = ("hash", "ip_hash", "least_conn", "random", "keepalive", "zone", "sticky")


def configure_arguments() -> list[str]:
    """Return what ``-V`` shows: as if nginx had been built with the modules whose directives work here."""
    upstream, proxy = (
        {row.name for row in MODULES[f"ngx_http_{name}_module"] if row.status is not Status.REFUSED}
        for name in ("upstream", "proxy")
    )
    return [
        f"--prefix={PREFIX}",
        f"--conf-path={CONFIG}",
        f"--pid-path={PID}",
        "--error-log-path=stderr",
        f"--http-log-path={ACCESS_LOG}",
        "--with-threads",
        *(f"--with-http_{name}_module" for name in _WITH.split() if _works(name)),
        *(f"--without-http_{name}_module" for name in _WITHOUT.split() if not _works(name)),
        *(f"--without-http_upstream_{name}_module" for name in _UPSTREAM if name not in upstream),
        *(["--without-http-cache"] if "proxy_cache_path" not in proxy else []),
    ]


def _works(name: str) -> bool:
    rows: list[Row] = MODULES.get(f"ngx_http_{name}_module", [])
    return any(row.status is Status.SUPPORTED for row in rows)
