"""The servers that are compared: how each is configured and started.

All run with one worker process (and one I/O thread where there is such a thing), pinned to core 0. nginx logs with
`buffer=64k flush=1s`, keeps upstream connections, and uses sendfile and open_file_cache; Buchner logs too. The others
log nothing, which is in their favour.
"""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
VENV = ROOT / ".bench" / "venv" / "bin"
START_DEADLINE = 60.0
"""Seconds a server has to answer its port."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a server shall do.

    Args:
        kind: `proxy`, `app`, `files`, `names` or `site` (benches/site.conf).
        app: module in benches/apps, for `app`.
        upstream: port of the upstream, for `proxy` and `site`.
        files: directory, for `files`.
        count: number of server names and of prefix routes, for `names`.
    """

    kind: str
    app: str = ""
    upstream: int = 0
    files: Path = ROOT
    count: int = 1


@dataclass(slots=True)
class Running:
    """Processes of one server.

    Args:
        name: as the table has it.
        port: where it listens on loopback.
        processes: the roots of its process trees.
        load_seconds: time from its start to the first accepted connection.
    """

    name: str
    port: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    load_seconds: float = 0.0

    @property
    def pids(self) -> list[int]:
        """Return the roots' process ids."""
        return [process.pid for process in self.processes]

    def stop(self) -> None:
        """End the processes that were started here."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


Starter = Callable[[Task, int, Path], list[list[str]]]
"""Writes configuration into the directory and returns the commands to start, the one that listens last."""


def free_port() -> int:
    """Return a port on loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def start(name: str, commands: list[list[str]], port: int, directory: Path) -> Running:
    """Start a server on core 0 and wait until it accepts connections.

    Raises:
        RuntimeError: it ended, or did not listen in time; its output is in the message.
    """
    running = Running(name, port)
    began = time.monotonic()
    for number, command in enumerate(commands):
        log = directory / f"out.{number}"
        with log.open("wb") as output:
            running.processes.append(
                subprocess.Popen(["taskset", "-c", "0", *command], stdout=output, stderr=output, cwd=directory)
            )
    while time.monotonic() - began < START_DEADLINE:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.01)
        else:
            running.load_seconds = time.monotonic() - began
            return running
        if any(process.poll() is not None for process in running.processes):
            break
    running.stop()
    said = "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(directory.glob("out.*")))
    raise RuntimeError(f"{name} did not start: {[shlex.join(command) for command in commands]}\n{said}")


# --- nginx -----------------------------------------------------------------------------------------------------------

NGINX = """\
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 20000; }}
worker_rlimit_nofile 40000;
http {{
    include /etc/nginx/mime.types;
    access_log {dir}/access.log combined buffer=64k flush=1s;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    uwsgi_temp_path {dir}/uwsgi;
    fastcgi_temp_path {dir}/fastcgi;
    scgi_temp_path {dir}/scgi;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=1000 inactive=60s;
    keepalive_requests 1000000000;
    server_names_hash_max_size 65536;
    server_names_hash_bucket_size 128;
    {body}
}}
"""


def _nginx_body(task: Task, port: int, directory: Path) -> str:
    if task.kind == "files":
        return f"server {{ listen 127.0.0.1:{port} backlog=4096; root {task.files}; }}"
    if task.kind == "names":
        routes = "".join(f"location /section{i}/ {{ return 200 '{'x' * 65}'; }}\n" for i in range(task.count))
        names = "".join(
            f"server {{ listen 127.0.0.1:{port}; server_name site{i}.example; return 200 '{'x' * 65}'; }}\n"
            for i in range(task.count)
        )
        return f"server {{ listen 127.0.0.1:{port} default_server backlog=4096; {routes} }}\n{names}"
    headers = (
        "proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $host; "
        "proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
        "proxy_set_header X-Forwarded-Proto $scheme;"
    )
    if task.kind == "proxy":
        target, content = f"127.0.0.1:{task.upstream}", f"proxy_pass http://up; {headers}"
    elif task.kind == "uwsgi":
        target, content = f"unix:{directory}/app.sock", "include /etc/nginx/uwsgi_params; uwsgi_pass up;"
    else:
        target, content = f"unix:{directory}/app.sock", f"proxy_pass http://up; {headers}"
    return (
        f"upstream up {{ server {target}; keepalive 128; keepalive_requests 1000000000; }}\n"
        f"server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ {content} }} }}"
    )


def site_conf(task: Task, port: int, directory: Path) -> str:
    """Return benches/site.conf for a port, an upstream and a directory."""
    text = (HERE / "site.conf").read_text()
    for name, value in (("@PORT@", port), ("@UPSTREAM@", task.upstream), ("@DIR@", directory)):
        text = text.replace(name, str(value))
    return text


def nginx(task: Task, port: int, directory: Path) -> list[list[str]]:
    """Debian's nginx, alone or before the app server whose socket is `app.sock`."""
    path = directory / "nginx.conf"
    if task.kind == "site":
        path.write_text(site_conf(task, port, directory))
    else:
        path.write_text(NGINX.format(dir=directory, body=_nginx_body(task, port, directory)))
    return [["nginx", "-p", str(directory), "-c", str(path), "-g", "daemon off;"]]


def nginx_uwsgi(task: Task, port: int, directory: Path) -> list[list[str]]:
    """Nginx before uWSGI: one process, no threads, no log (its fastest)."""
    own = VENV / "uwsgi"
    plugin = [] if own.exists() else ["--plugin", "python3"]
    if plugin and VENV.exists():
        plugin += ["--virtualenv", str(VENV.parent)]
    uwsgi = [str(own) if own.exists() else "uwsgi", *plugin]
    uwsgi += ["--socket", f"{directory}/app.sock", "--chmod-socket=666", "--processes", "1", "--need-app"]
    uwsgi += ["--chdir", str(HERE / "apps"), "--module", f"{task.app}:app", "--disable-logging", "--listen", "1024"]
    return [uwsgi, *nginx(Task("uwsgi"), port, directory)]


def nginx_gunicorn(task: Task, port: int, directory: Path) -> list[list[str]]:
    """Nginx before gunicorn: one gthread worker with two threads."""
    gunicorn = [str(VENV / "gunicorn"), "--bind", f"unix:{directory}/app.sock", "--workers", "1", "--threads", "2"]
    gunicorn += ["--worker-class", "gthread", "--keep-alive", "75", "--chdir", str(HERE / "apps"), f"{task.app}:app"]
    return [gunicorn, *nginx(Task("http"), port, directory)]


def granian(task: Task, port: int, _directory: Path) -> list[list[str]]:
    """Granian alone: one worker, one runtime thread, one blocking thread."""
    command = [str(VENV / "granian"), "--interface", "wsgi", "--http", "1", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--runtime-threads", "1", "--blocking-threads", "1", "--no-ws"]
    return [[*command, "--working-dir", str(HERE / "apps"), f"{task.app}:app"]]


# --- Buchner ---------------------------------------------------------------------------------------------------------


def buchner_toml(task: Task, port: int, directory: Path) -> str:
    """Return the gateway.toml for a task: access log on, all timeouts at their defaults."""
    server = (
        f'[[server]]\nlisten = ["127.0.0.1:{port}"]\nkeepalive_requests = 0\n'
        f'access_log = {{ path = "{directory}/access.log", buffer = "64k", flush = "1s" }}\n'
    )
    if task.kind == "files":
        return f'{server}[[server.route]]\npath = "/"\nfiles = "{task.files}/"\n'
    if task.kind == "proxy":
        upstream = f'[upstream.up]\nservers = ["127.0.0.1:{task.upstream}"]\n'
        headers = '{ Host = "$host", X-Real-IP = "$remote_addr", X-Forwarded-For = "$proxy_add_x_forwarded_for" }'
        return f'{upstream}{server}[[server.route]]\npath = "/"\nproxy = "http://up"\nset_headers = {headers}\n'
    if task.kind == "app":
        app = f'[app]\ntarget = "{task.app}:app"\nworkers = 1\nthreads = 1\nchdir = "{HERE / "apps"}"\n'
        return f'{app}{server}[[server.route]]\npath = "/"\napp = true\n'
    answer = f'respond = {{ status = 200, body = "{"x" * 65}" }}'
    routes = "".join(f'[[server.route]]\npath = "/section{i}/"\n{answer}\n' for i in range(task.count))
    names = "".join(
        f'[[server]]\nlisten = ["127.0.0.1:{port}"]\nnames = ["site{i}.example"]\nkeepalive_requests = 0\n'
        f'access_log = "{directory}/access.log"\n[[server.route]]\npath = "/"\n{answer}\n'
        for i in range(task.count)
    )
    return server + routes + names


def buchner(command: list[str]) -> Starter:
    """Return the starter of a Buchner that is run as `command FILE`."""

    def write(task: Task, port: int, directory: Path) -> list[list[str]]:
        if task.kind == "site":
            path = directory / "nginx.conf"
            path.write_text(site_conf(task, port, directory))
        else:
            path = directory / "gateway.toml"
            path.write_text(buchner_toml(task, port, directory))
        return [[*command, str(path)]]

    return write


def default_buchner() -> list[str]:
    """Return the command of the Buchner that `make` installed, or the one on PATH."""
    own = ROOT / ".venv" / "bin" / "buchner"
    found = str(own) if own.exists() else shutil.which("buchner")
    return [found or "buchner", "run"]
