"""`buchner doctor`: looks at a setup that runs or is about to, and says what is wrong and what to do."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from buchner import cpus
from buchner.cli.find import find_app
from buchner.config import addresses, load
from buchner.config.sockets import SocketOptions
from buchner.errors import BuchnerError, ConfigError, InstanceError
from buchner.serving import Serving
from buchner.supervisor import holders, listeners, memory, registry
from buchner.supervisor.child import DEFAULT_THREADS
from buchner.supervisor.identity import Identity, of_gateway, of_workers
from buchner.supervisor.sealed_plan import log_files
from buchner.supervisor.upgrade import check_apps

if TYPE_CHECKING:
    from buchner.config import Loaded
    from buchner.supervisor.registry import Instance

_FEW_DESCRIPTORS = 4096
_LITTLE_MEMORY = 64 << 20
_MUCH = 0.9
_CONNECT_SECONDS = 2.0
_MIB = 1 << 20
_SOME = 3
"""Names of a certificate that are shown."""
_UNREACHABLE: dict[type[OSError], str] = {
    ConnectionRefusedError: "refused the connection: is that program running, and on this address?",
    FileNotFoundError: "does not exist: is that program running, and is this where it makes its socket?",
    PermissionError: "may not be opened by this user: its mode or that of its directory forbids it",
    socket.gaierror: "does not resolve: {}",
    TimeoutError: f"did not answer within {_CONNECT_SECONDS:g} s: is a firewall in between?",
}
_LOCAL = ("127.", "[::1]", "localhost", "unix:")


@dataclass(frozen=True)
class Finding:
    """Something that was looked at.

    Args:
        level: how it is.
        topic: what was looked at.
        text: what was found.
        advice: what to do; empty where nothing has to be done.
    """

    level: Literal["ok", "note", "warning", "problem"]
    topic: str
    text: str
    advice: str = ""


@dataclass
class Subject:
    """What is examined: a configuration, and the instance that runs it, if one does."""

    name: str
    loaded: Loaded
    instance: Instance | None = None
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def gateway(self) -> Identity | None:
        """Whom the gateway runs as; None: as this user, or as an unknown one (which `users` reports)."""
        with contextlib.suppress(ConfigError):
            return of_gateway(self.loaded.process)
        return None


@click.command()
@click.argument("target", required=False)
@click.option("-b", "--bind", multiple=True, metavar="ADDRESS", help="Address an app would listen on.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as a JSON list.")
def doctor(target: str | None, bind: tuple[str, ...], as_json: bool) -> int:
    """Examine a setup that runs or is about to, and say what is wrong and what to do. Nothing is changed.

    TARGET is a configuration file, an app as for `serve`, or the pid of a running instance. Without it, the one
    running instance is examined, or the app that `buchner serve` would find here. Run it as the user that starts
    Buchner. The exit status is 1 if there is a problem.

    \b
    Examples:
      buchner doctor                       what runs
      buchner doctor gateway.toml
      buchner doctor shop:app --bind :80
    """
    findings = examine(target, list(bind))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for line in report(findings):
            click.echo(line)
    return 1 if any(finding.level == "problem" for finding in findings) else 0


def examine(target: str | None, bind: list[str]) -> list[Finding]:
    """Make all the checks; a configuration that cannot be used is the one finding."""
    try:
        subject = find(target, bind)
    except BuchnerError as error:
        return [Finding("problem", "configuration", str(error), "correct it; nothing else was looked at")]
    return [finding for check in CHECKS for finding in check(subject)]


def report(findings: list[Finding]) -> Iterator[str]:
    """The lines a person reads."""
    for finding in findings:
        first, *rest = finding.text.splitlines() or [""]
        yield f"{finding.level:8} {finding.topic}: {first}"
        for line in rest:
            yield f"{'':9}{line}"
        if finding.advice:
            yield f"{'':9}→ {finding.advice}"
    count = {level: sum(finding.level == level for finding in findings) for level in ("problem", "warning")}
    yield ", ".join(f"{number} {level}{'s' * (number != 1)}" for level, number in count.items())


def find(target: str | None, bind: list[str]) -> Subject:
    """What is meant.

    Raises:
        BuchnerError: The configuration cannot be used, or there is no app here.
    """
    instance = None
    with contextlib.suppress(InstanceError):
        instance = registry.find(target)
    if instance is not None:
        os.chdir(instance.directory)
        subject = Subject(str(instance), _load_of(instance), instance)
        with contextlib.suppress(InstanceError):
            subject.status = registry.ask(instance, "status", 5.0)
        return subject
    if target is not None and os.path.isfile(target) and not target.endswith(".py"):
        return Subject(target, load(target))
    app = find_app(target)
    return Subject(app, Serving(app, bind).load())


def _load_of(instance: Instance) -> Loaded:
    if instance.config:
        return load(instance.config)
    return Serving(instance.title, instance.addresses).load()


def configuration(subject: Subject) -> Iterator[Finding]:
    """Its warnings."""
    for warning in subject.loaded.warnings:
        yield Finding("warning", "configuration", str(warning))
    servers, apps = len(subject.loaded.plan["server"]), len(subject.loaded.app)
    words = f"{subject.name}: {servers} server{'s' * (servers != 1)}, {apps} app{'s' * (apps != 1)}"
    yield Finding("ok", "configuration", words)


def running(subject: Subject) -> Iterator[Finding]:
    """The running instance: do all processes serve, and is it what is installed and configured now?"""
    if subject.instance is None:
        yield Finding("note", "instance", "none runs with this configuration under this user")
        return
    topic, status = f"instance {subject.instance.pid}", subject.status
    if not status:
        yield Finding("problem", topic, "it does not answer on its control socket", "its log says why")
        return
    if not status["gateway"]:
        yield Finding("problem", topic, "its gateway process does not answer", "its log says why")
    for name, pool in status["pools"].items():
        waiting = [worker for worker in pool["workers"] if worker["state"] == "starting"]
        if waiting or not pool["workers"]:
            ready = len(pool["workers"]) - len(waiting)
            yield Finding("warning", topic, f"app {name}: {ready} workers serve, {len(waiting)} are starting")
    from buchner import __version__

    if status["version"] != __version__:
        words = f"it runs {status['version']}, {__version__} is installed"
        yield Finding("note", topic, words, f"buchner upgrade {subject.instance.pid}")
    if subject.instance.config and os.path.getmtime(subject.instance.config) > status["started_at"]:
        words = f"{subject.instance.config} was written after the start"
        yield Finding("note", topic, words, "unless it was reloaded since: buchner reload")
    yield Finding("ok", topic, f"answers, up {int(time.time() - status['started_at'])} s")


def listening(subject: Subject) -> Iterator[Finding]:
    """Addresses: who has them, and may this user bind them?"""
    for address in subject.loaded.listen:
        topic = f"address {address}"
        holder = _holder(address)
        if holder is not None and subject.instance is not None and holder.pid == subject.instance.pid:
            yield Finding("ok", topic, "is served by this instance")
            continue
        try:
            listeners.probe(address, subject.loaded.sockets.get(address, SocketOptions()))
        except BuchnerError as error:
            yield Finding("problem", topic, str(error).removeprefix(f"cannot listen on {address}: "))
        else:
            yield Finding("ok", topic, "is free")


def _holder(address: str) -> holders.Holder | None:
    if address.startswith("unix:"):
        return holders.of_path(address.removeprefix("unix:"))
    return holders.of_port(listeners.split(address)[1])


def certificates(subject: Subject) -> Iterator[Finding]:
    """How long the certificates of TLS are valid."""
    from buchner.certificates.pem import parse_pair

    seen = set()
    for policy in subject.loaded.plan.get("tls", []):
        for one in policy["certificate"]:
            pair = parse_pair(one["chain"].encode(), one["key"].encode())
            if (one["name"], pair.serial) in seen:
                continue
            seen.add((one["name"], pair.serial))
            days = (pair.not_after - time.time()) / 86400
            names = ", ".join(pair.names[:_SOME]) + (", …" if len(pair.names) > _SOME else "")
            words = f"{names or 'no name'}, by {pair.issuer}"
            topic = f"certificate {one['name']}"
            if days < 0:
                yield Finding("problem", topic, f"{words}, expired {-days:.0f} days ago", "renew it: clients refuse it")
            elif days * 86400 < pair.life / 6:
                yield Finding("warning", topic, f"{words}, expires in {days:.1f} days", "does something renew it?")
            else:
                yield Finding("ok", topic, f"{words}, valid for {days:.0f} days")


def users(subject: Subject) -> Iterator[Finding]:
    """Whom the processes run as."""
    process = subject.loaded.process
    try:
        gateway = of_gateway(process)
        workers = {name: of_workers(settings, process) for name, settings in subject.loaded.app.items()}
    except ConfigError as error:
        yield Finding("problem", "users", str(error))
        return
    if os.geteuid() != 0:
        return
    yield Finding("ok", "users", f"the gateway runs as {gateway.name if gateway else 'root'}")
    for name, identity in workers.items():
        if identity is None:
            advice = 'set `user` (in gateway.toml: [gateway] user = "www-data"; or --user)'
            yield Finding("warning", "users", f"the workers of app {name} would run as root", advice)


def apps(subject: Subject) -> Iterator[Finding]:
    """Can the apps be imported, each in a process of its own as its user?"""
    if not subject.loaded.app:
        return
    try:
        check_apps(subject.loaded)
    except BuchnerError as error:
        yield Finding("problem", "app", str(error), "correct it; the traceback names the place")
    except OSError as error:
        yield Finding("problem", "app", f"a worker could not be started: {error}")
    else:
        yield Finding("ok", "app", f"{', '.join(_targets(subject))} can be imported")


def _targets(subject: Subject) -> list[str]:
    return [settings.target or name for name, settings in subject.loaded.app.items()]


def files(subject: Subject) -> Iterator[Finding]:
    """Logs, the pid file and served folders: may those who need them reach them?"""
    gateway = subject.gateway
    for log in log_files(subject.loaded.plan):
        if log not in ("-", "stdout", "stderr") and not log.startswith("/dev/"):
            yield from _writable("log", log, gateway)
    process = subject.loaded.process
    for topic, path in (("error log", process.error_log), ("pid file", process.pid_file)):
        if path not in (None, "-"):
            yield from _writable(topic, str(path), None)
    routes = (route for server in subject.loaded.plan["server"] for route in server["route"])
    contents = ((route.get("content") or {}).get("files") for route in routes)
    for root in dict.fromkeys(content["root"] for content in contents if content):
        if gateway is not None and os.path.isdir(root) and (blocked := _barrier(root, 5, gateway)):
            words = f"{root}: {gateway.name}, as whom the gateway runs, may not read {blocked}"
            yield Finding("problem", "files", words, f"chmod o+rx {blocked}, or set `user` to one who may")


def _writable(topic: str, path: str, identity: Identity | None) -> Iterator[Finding]:
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        yield Finding("problem", topic, f"{path}: there is no directory {folder}", f"mkdir -p {folder}")
    elif not os.access(path if os.path.exists(path) else folder, os.W_OK):
        yield Finding("problem", topic, f"{path} may not be written by this user", f"ls -ld {folder} {path}")
    elif identity is not None and (blocked := _barrier(folder, 1, identity)):
        words = f"{path}: {identity.name}, as whom the gateway runs, may not enter {blocked}"
        yield Finding("problem", topic, words, f"chmod o+x {blocked}, or log elsewhere")
    else:
        yield Finding("ok", topic, f"{path} can be written")


def _barrier(path: str, mode: int, identity: Identity) -> str | None:
    """The first directory on the way to `path` that keeps this user out."""
    target = Path(os.path.realpath(path))
    for step in [*reversed(target.parents), target]:
        if not identity.may(str(step), mode if step == target else 1):
            return str(step)
    return None


def descriptors(_subject: Subject) -> Iterator[Finding]:
    """The limit of open files; each connection is one, a proxied one two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _FEW_DESCRIPTORS:
        advice = "raise it: LimitNOFILE=65536 in the systemd unit, --ulimit nofile=65536 for docker run, or ulimit -Hn"
        yield Finding("warning", "open files", f"at most {hard}, so at most about {hard // 2} connections", advice)
    else:
        yield Finding("ok", "open files", f"at most {hard}")


def spool(subject: Subject) -> Iterator[Finding]:
    """Where large bodies are kept."""
    settings = subject.loaded.plan["gateway"]
    folder, most = settings.get("spool_dir", "/var/tmp"), settings.get("spool_max", 1 << 30)  # noqa: S108 - the default
    advice = "set [gateway] spool_dir to a directory on a disk, which the gateway's user may write to"
    gateway = subject.gateway
    if not (gateway.may(folder, 3) if gateway else os.access(folder, os.W_OK | os.X_OK)):
        yield Finding("problem", "spool", f"{folder} may not be written by the gateway's user", advice)
    elif (kind := _file_system(folder)) in ("tmpfs", "ramfs"):
        words = f"{folder} is a {kind}: up to {most // _MIB} MiB of bodies would be kept in memory"
        yield Finding("warning", "spool", words, advice)
    elif (free := os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize) < most:
        words = f"{folder} has {free // _MIB} MiB free, spool_max is {most // _MIB} MiB"
        yield Finding("warning", "spool", words, "make room or lower [gateway] spool_max: a full disk gives 507")
    else:
        yield Finding("ok", "spool", f"{folder}, {free // _MIB} MiB free")


def _file_system(path: str) -> str:
    """The type of the file system a path is on (proc(5), mounts)."""
    best, kind = "", ""
    real = os.path.realpath(path)
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            point, name = line.split()[1:3]
            inside = point in ("/", real) or real.startswith(f"{point}/")
            if inside and len(point) >= len(best):
                best, kind = point, name
    return kind


def workers(subject: Subject) -> Iterator[Finding]:
    """Processes and threads, against the cores and the memory of the control group."""
    cores, limit = cpus.usable(), memory.limit()
    total = 0
    for name, settings in subject.loaded.app.items():
        count = settings.workers or cores
        total += count
        words = (
            f"app {name}: {count} × {settings.threads or DEFAULT_THREADS} threads on {cores} core{'s' * (cores != 1)}"
        )
        if count > 4 * cores:
            yield Finding("warning", "workers", words, "more processes than cores only take memory: use threads")
        else:
            yield Finding("ok", "workers", words)
    if not total or limit is None:
        return
    used = memory.used()
    if limit // total < _LITTLE_MEMORY:
        words = f"{limit // _MIB} MiB of memory for {total} workers"
        yield Finding(
            "warning", "memory", words, "run fewer workers (or preload = true, which shares what was imported)"
        )
    elif used is not None and used > limit * _MUCH:
        words = f"{used // _MIB} of {limit // _MIB} MiB are used: the kernel kills processes above that"
        yield Finding("warning", "memory", words, "set max_rss, run fewer workers, or raise the limit")
    else:
        yield Finding("ok", "memory", f"at most {limit // _MIB} MiB")


def upstreams(subject: Subject) -> Iterator[Finding]:
    """Does every upstream server take connections?"""
    for name, group in subject.loaded.plan["upstream"].items():
        failures = {}
        for server in group["server"]:
            failure = None if server.get("down") else _connect(server["address"])
            if failure:
                failures[server["address"]] = failure
            elif not server.get("down"):
                yield Finding("ok", f"upstream {name}", f"{server['address']} accepts connections")
        level: Literal["problem", "warning"] = "problem" if len(failures) == len(group["server"]) else "warning"
        for address, failure in failures.items():
            yield Finding(level, f"upstream {name}", f"{address} {failure}")


def _connect(address: str) -> str | None:
    try:
        if address.startswith("unix:"):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(_CONNECT_SECONDS)
                sock.connect(address.removeprefix("unix:"))
        else:
            host, port = addresses.split(address)
            socket.create_connection((host.strip("[]"), port or 80), _CONNECT_SECONDS).close()
    except OSError as error:
        words = next(
            (words for kind, words in _UNREACHABLE.items() if isinstance(error, kind)), "cannot be reached: {}"
        )
        return words.format(error.strerror or error)
    return None


def proxies(subject: Subject) -> Iterator[Finding]:
    """Whose X-Forwarded-* are believed."""
    trusted = subject.loaded.plan["gateway"].get("trusted_proxies", [])
    local = all(address.startswith(_LOCAL) for address in subject.loaded.listen)
    if "*" in trusted and not local:
        advice = "name the networks of your proxies instead"
        yield Finding(
            "warning", "trusted proxies", 'with "*" every client chooses the address it seems to have', advice
        )
    elif not trusted and local:
        words = (
            "none, and all addresses are local: clients seem to have the address of the proxy in front, if there is one"
        )
        yield Finding("note", "trusted proxies", words, 'name it, e.g. trusted_proxies = ["127.0.0.1", "unix"]')
    else:
        yield Finding("ok", "trusted proxies", ", ".join(trusted) or "none: X-Forwarded-* of clients are not believed")


CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    configuration, running, listening, certificates, users, apps, files, descriptors, spool, workers, upstreams,
    proxies,
)  # fmt: skip
