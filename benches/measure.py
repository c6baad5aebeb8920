"""What is measured: CPU time and private memory of a process tree, and the requests wrk made meanwhile.

CPU time is what `/proc/PID/stat` gives as utime and stime, in clock ticks (10 ms); over a round of four seconds on one
core that is 0.25 %. It is preferred to requests per second because it hardly depends on what else the machine does.
"""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")

BROWSER_HEADERS = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
    "Accept: text/html,application/xhtml+xml",
    "Accept-Language: en",
    "Accept-Encoding: gzip",
    "Cookie: session=abcdefghijklmnopqrstuvwxyz",
)


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk asks for.

    Args:
        path: request target.
        connections: keep-alive connections.
        host: value of the Host header.
        headers: lines beside a browser's.
    """

    path: str
    connections: int = 64
    host: str = "127.0.0.1"
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Round:
    """One round against one server.

    Args:
        cpu_us: CPU time of the server's processes per request, microseconds.
        rate: requests per second.
        errors: what wrk complains of; empty when all was well.
    """

    cpu_us: float
    rate: float
    errors: str


def _stat(pid: int) -> tuple[int, int] | None:
    """Return the parent and the CPU ticks of a process, None if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rsplit(")", 1)[1].split()
    return int(fields[1]), int(fields[11]) + int(fields[12])


def tree(*roots: int) -> list[int]:
    """Return the process ids of `roots` and all their descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(stat[0], []).append(int(entry.name))
    found: list[int] = []
    todo = list(roots)
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU time the processes have used, seconds."""
    return sum(stat[1] for pid in pids if (stat := _stat(pid))) / TICK


def run_seconds(pids: list[int]) -> float:
    """Return the CPU time of the threads that these processes have now, seconds, precise to a nanosecond.

    Time that ended threads have used is not in it: for processes that keep theirs (proc(5), schedstat).
    """
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def pss_kib(pid: int) -> int:
    """Return the proportional set size of a process, KiB: pages it shares are divided by those who have them."""
    return _rollup(pid, "Pss:")


def pss_anonymous_kib(pid: int) -> int:
    """Return the part of `pss_kib` that no file is behind, KiB."""
    return _rollup(pid, "Pss_Anon:")


def _rollup(pid: int, key: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def private_kib(pids: list[int]) -> int:
    """Return the memory that only these processes hold, KiB."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Private_Dirty", "Private_Clean")):
                total += int(line.split()[1])
    return total


def drive(port: int, load: Load, seconds: float) -> tuple[int, float, str]:
    """Drive a server with wrk on core 1.

    Args:
        port: the server's port on loopback.
        load: what to ask for.
        seconds: how long.

    Returns:
        Requests made, requests per second, and wrk's complaints.
    """
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "10s"]
    for header in (f"Host: {load.host}", *BROWSER_HEADERS, *load.headers):
        command += ["-H", header]
    url = f"http://127.0.0.1:{port}{load.path}"
    output = subprocess.run([*command, url], capture_output=True, text=True, check=True)
    made = re.search(r"(\d+) requests in", output.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output.stdout)
    if made is None or rate is None:
        raise RuntimeError(f"wrk said: {output.stdout}{output.stderr}")
    return int(made[1]), float(rate[1]), "; ".join(re.findall(r"(?:Socket errors|Non-2xx).*", output.stdout))


def cpu_round(roots: list[int], port: int, load: Load, seconds: float) -> Round:
    """Drive a server and return what each request cost its processes."""
    pids = tree(*roots)
    before = cpu_seconds(pids)
    made, rate, errors = drive(port, load, seconds)
    spent = cpu_seconds(pids) - before
    return Round(spent / max(made, 1) * 1e6, rate, errors)


def idle_kib(roots: list[int], port: int, count: int) -> float:
    """Return private KiB per idle keep-alive connection.

    Opens `count` connections, makes one request on each and leaves them open; what the server's processes grew by is
    divided by `count`. 200 connections are opened and kept before the first reading, so that what is allocated once
    (pools, arenas) is not counted.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, count + 1000)), hard))
    connections = _open_idle(port, 200)
    time.sleep(1.0)  # the server's own clean-up runs on timers
    pids = tree(*roots)
    before = private_kib(pids)
    connections += _open_idle(port, count)
    time.sleep(1.5)
    after = private_kib(pids)
    for connection in connections:
        connection.close()
    return (after - before) / count


def _open_idle(port: int, count: int) -> list[socket.socket]:
    request = "GET / HTTP/1.1\r\n" + "\r\n".join(("Host: a", *BROWSER_HEADERS)) + "\r\n\r\n"
    opened: list[socket.socket] = []
    while len(opened) < count:
        batch = [socket.create_connection(("127.0.0.1", port)) for _ in range(min(50, count - len(opened)))]
        for connection in batch:
            connection.sendall(request.encode())
        for connection in batch:
            read_response(connection)
        opened += batch
    return opened


def read_response(connection: socket.socket) -> int:
    """Read one response, whose body has a Content-Length; returns its status."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, body = data.split(b"\r\n\r\n", 1)
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    if length is None:
        raise RuntimeError(f"no Content-Length in {head!r}")
    left = int(length[1]) - len(body)
    while left > 0:
        left -= len(_some(connection))
    return int(head.split(None, 2)[1])


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("the server closed an idle connection")
    return data
