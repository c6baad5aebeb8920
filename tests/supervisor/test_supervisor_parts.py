"""The supervisor's parts on their own: addresses, cores, plans, causes, back-off, systemd, the event loop."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from buchner import cpus
from buchner.errors import ConfigError, InstanceError, ListenError
from buchner.supervisor import child, identity, listeners, memfd, registry, worker_process
from buchner.supervisor.log_writer import LogWriter
from buchner.supervisor.loop import Loop
from buchner.supervisor.messages import StaticFolder, WorkerReady
from buchner.supervisor.notify import Notifier
from buchner.supervisor.plan import complete
from buchner.supervisor.pool import Backoff
from buchner.supervisor.process import MemoryEvents, cause
from buchner.supervisor.stop import duration


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("8000", "127.0.0.1:8000"),
        (":80", "0.0.0.0:80"),
        ("*:80", "0.0.0.0:80"),
        ("localhost", "localhost:8000"),
        ("[::1]:0", "[::1]:0"),
        ("http://127.0.0.1:5000/", "127.0.0.1:5000"),
        ("unix:/run/a.sock", "unix:/run/a.sock"),
    ],
)
def test_short_addresses(text: str, full: str) -> None:
    assert listeners.normal(text) == full


@pytest.mark.parametrize("text", ["::1:80", "host:port", "host:99999", ""])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError):
        listeners.normal(text)


def test_a_port_in_use_names_its_owner() -> None:
    first = listeners.open_listener("127.0.0.1:0")
    address = listeners.address_of(first.socket)
    with pytest.raises(ListenError, match=rf"in use by .* \(pid {os.getpid()}\)"):
        listeners.open_listener(address)
    first.close()


def test_a_foreign_address_is_told() -> None:
    with pytest.raises(ListenError, match=r"no address 192\.0\.2\.1"):
        listeners.open_listener("192.0.2.1:0")


def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/a.sock"
    stale = listeners.open_listener(address)
    stale.socket.close()
    live = listeners.open_listener(address)
    with pytest.raises(ListenError, match=rf"the socket is in use by .* \(pid {os.getpid()}\): stop it"):
        listeners.open_listener(address)
    assert (tmp_path / "a.sock").stat().st_mode & 0o777 == 0o666
    live.close()
    assert not (tmp_path / "a.sock").exists()


def test_a_file_is_not_taken_for_a_stale_socket(tmp_path: Path) -> None:
    (tmp_path / "a.sock").write_text("precious")
    with pytest.raises(ListenError, match="not a socket"):
        listeners.open_listener(f"unix:{tmp_path}/a.sock")
    assert (tmp_path / "a.sock").read_text() == "precious"


def test_systemd_sockets_are_for_the_process_they_name() -> None:
    assert listeners.passed_by_systemd({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []


@pytest.mark.parametrize(("quota", "expected"), [("max 100000", None), ("50000 100000", 1), ("150000 100000", 2)])
def test_cores_by_quota(tmp_path: Path, quota: str, expected: int | None) -> None:
    (tmp_path / "membership").write_text("0::/app\n")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "cpu.max").write_text(quota)
    everything = len(os.sched_getaffinity(0))
    assert cpus.usable(tmp_path, tmp_path / "membership") == min(everything, expected or everything)


def plan() -> dict[str, Any]:
    routes = [{"path": "/", "content": {"app": {"pool": "app"}}, "settings": 0}]
    return {"server": [{"listen": [0], "names": [], "settings": 0, "route": routes}], "settings": [{}]}


def test_static_folders_become_routes_that_fall_back_to_the_app() -> None:
    folder = StaticFolder(url_path="/static", folder="/srv/static", cache_control="no-cache")
    made = complete(plan(), {"app": WorkerReady(pid=1, app="a", static=[folder], max_content_length=1000)})
    routes = {route["path"]: route for route in made["server"][0]["route"]}
    assert set(routes) == {"/", "@app", "/static/"}
    assert routes["/static/"]["content"]["files"]["fallback"] == "@app"
    assert made["settings"][routes["/"]["settings"]] == {"max_body": 0, "request_buffering_max": 1000}


def test_a_folder_the_gateway_may_not_read_and_a_route_of_the_configuration_win() -> None:
    folder = StaticFolder(url_path="/static", folder="/srv/static")
    ready = WorkerReady(pid=1, app="a", static=[folder])
    assert len(complete(plan(), {"app": ready}, lambda _folder: False)["server"][0]["route"]) == 1
    own = plan()
    own["server"][0]["route"].append({"path": "/static/", "content": {"respond": {"status": 403}}, "settings": 0})
    assert len(complete(own, {"app": ready})["server"][0]["route"]) == 2


def test_an_app_that_takes_no_bodies_has_none_read_ahead() -> None:
    made = complete(plan(), {"app": WorkerReady(pid=1, app="a", max_content_length=0)})
    assert made["settings"][1] == {"max_body": 0, "request_buffering_max": 1}


@pytest.mark.parametrize("limit", [0, 5, 64 << 20])
def test_a_body_limit_of_the_configuration_wins_whatever_its_value(limit: int) -> None:
    own = plan()
    own["settings"] = [{"max_body": limit}]
    made = complete(own, {"app": WorkerReady(pid=1, app="a", max_content_length=1000)})
    assert made["settings"] == [{"max_body": limit}]


def test_an_empty_list_of_roots_is_told_from_none() -> None:
    own = plan()
    own["settings"] = [{"sendfile_roots": []}]
    made = complete(own, {"app": WorkerReady(pid=1, app="a", folders=["/app"], x_sendfile=True)})
    assert made["settings"] == [{"sendfile_roots": []}]


def test_ends_are_told_in_words(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    events.write_text("oom 0\noom_kill 1\n")
    memory = MemoryEvents(events)
    assert cause(3, 2**22, memory) == "exited with status 3"
    assert "SIGSEGV" in cause(-signal.SIGSEGV, 2**22, memory)
    assert cause(-signal.SIGKILL, 2**22, memory) == "was killed (SIGKILL)"
    events.write_text("oom 1\noom_kill 2\n")
    assert cause(-signal.SIGKILL, 2**22, memory) == "was killed by the kernel (out of memory)"
    assert cause(-signal.SIGKILL, 2**22, memory, "it hung") == "was killed: it hung"


def test_backoff_doubles_and_forgets() -> None:
    backoff = Backoff()
    assert [backoff.pause(0.0) for _ in range(5)] == [0.0, 0.1, 0.2, 0.4, 0.8]
    assert [backoff.pause(0.0) for _ in range(10)][-1] == 10.0
    assert backoff.pause(31.0) == 0.0


def test_sd_notify_sends_datagrams(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"})
        notifier.ready("fine")
        assert manager.recv(1000).decode().split("\n") == ["READY=1", f"MAINPID={os.getpid()}", "STATUS=fine"]
        assert notifier.watchdog_seconds == 1.5
    assert Notifier({}).watchdog_seconds is None


def test_the_loop_runs_timers_in_order_and_survives_a_callback() -> None:
    loop = Loop()
    ran: list[int] = []
    loop.call_later(0.02, loop.stop)
    loop.call_later(0.01, lambda: ran.append(2))
    loop.call_later(0.0, lambda: ran.append(1))
    loop.call_later(0.0, lambda: ran.append(1 // 0))
    loop.call_later(0.005, lambda: ran.append(9)).cancel()
    loop.run()
    loop.close()
    assert ran == [1, 2]


def test_a_cancelled_timer_is_let_go_at_once() -> None:
    loop = Loop()
    ran: list[int] = []
    # Without the first, the order of the heap's list is that of no heap: 5 stands before 1.
    timers = {number: loop.call_later(number / 1000, partial(ran.append, number)) for number in (0, 5, 1, 6, 7, 2, 3)}
    kept = {number: weakref.ref(timer) for number, timer in timers.items()}
    last = timers[3]
    for number in (0, 6, 3):
        timers[number].cancel()
        timers[number].cancel()
    timers.clear()
    gc.collect()
    assert [number for number, each in kept.items() if each()] == [5, 1, 7, 2, 3], "the last one is held here"
    loop.call_later(0.02, loop.stop)
    loop.run()
    loop.close()
    assert ran == [1, 2, 5, 7]
    last.cancel()


def test_a_timer_may_be_further_away_than_epoll_can_wait() -> None:
    loop = Loop()
    loop.call_later(30 * 86_400, loop.stop)
    read_end, write_end = os.pipe()
    loop.watch(read_end, lambda _events: loop.stop())
    os.write(write_end, b"x")
    loop.run()
    loop.close()
    os.close(read_end)
    os.close(write_end)


def test_the_loop_hears_signals() -> None:
    loop = Loop()
    heard: list[str] = []
    loop.on_signal(signal.SIGUSR2, lambda: heard.append("usr2"))
    os.kill(os.getpid(), signal.SIGUSR2)
    loop.turn(5.0)
    loop.close()
    assert heard == ["usr2"]


def test_memfds_keep_their_size() -> None:
    fd = memfd.sealed("test", b"content")
    assert os.read(fd, 100) == b"content"
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 1)
    os.close(fd)
    fd = memfd.claims()
    assert os.fstat(fd).st_size == 4096
    assert os.pwrite(fd, b"\1", 0) == 1
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 1)
    os.close(fd)


def test_who_may_read_what(tmp_path: Path) -> None:
    nobody = identity.look_up("nobody")
    assert nobody.may("/usr", 5)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert not nobody.may(str(closed), 5) or nobody.uid == os.geteuid()
    with pytest.raises(ConfigError, match="no user"):
        identity.look_up("no-such-user-here")


def test_an_open_state_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCHNER_STATE_DIR", str(tmp_path / "state"))
    assert registry.instances() == []
    (tmp_path / "state").chmod(0o777)
    with pytest.raises(InstanceError, match="only this user"):
        registry.find(None)


def test_an_instance_that_executes_its_new_version_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUCHNER_STATE_DIR", str(tmp_path / "state"))
    assert registry.instances() == []  # makes the directory
    instance = registry.Instance(os.getpid(), "shop:app", "", "/", [])
    with socket.socket(socket.AF_UNIX) as old, socket.socket(socket.AF_UNIX) as new:
        old.bind(instance.socket_path())  # nobody listens: it is refused

        def listen_again() -> None:
            Path(instance.socket_path()).unlink()
            new.bind(instance.socket_path())
            new.listen()
            connection, _ = new.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b'{"ok": true}\n')

        later = threading.Timer(0.3, listen_again)
        later.start()
        assert registry.ask(instance, "status", 10) == {"ok": True}
        later.join()
        gone = registry.Instance(2**22 + 1, "shop:app", "", "/", [])
        with pytest.raises(InstanceError, match="does not answer"):
            registry.ask(gone, "status", 10)


def test_the_gateway_process_imports_next_to_nothing() -> None:
    """It would hold the memory of what it imports for as long as it runs."""
    script = "import sys, buchner.gateway; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    assert "buchner._native" in loaded
    assert not loaded & {"argparse", "dataclasses", "importlib.metadata", "logging", "msgspec", "socket", "typing"}


@pytest.mark.parametrize("words", [[], ["--control-fd"], ["--control-fd", "3", "--wrong", "4"]])
def test_the_gateway_process_says_who_starts_it(words: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "buchner.gateway", *words], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "The supervisor starts this process" in result.stderr


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.5, "0.5 s"), (30, "30 s"), (90, "1.5 min"), (7200, "2 h"), (86400, "1 day"), (30 * 86400, "30 days")],
)
def test_times_are_told_as_people_do(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_an_identity_that_a_user_namespace_does_not_have_is_told(tmp_path: Path) -> None:
    nobody = identity.Identity("nobody", 65534, 65534, (), "/")
    for name, text in (("uid_map", "0 1000 1\n"), ("gid_map", "0 1000 1\n"), ("setgroups", "deny\n")):
        (tmp_path / name).write_text(text)
    assert "has no uid 65534" in identity.not_here(nobody, tmp_path)
    for name in ("uid_map", "gid_map"):
        (tmp_path / name).write_text("0 1000 1\n1 100000 65535\n")
    assert "groups" in identity.not_here(nobody, tmp_path)
    (tmp_path / "setgroups").write_text("allow\n")
    assert identity.not_here(nobody, tmp_path) == ""


def test_a_process_that_cannot_become_its_user_says_so(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def denied(_groups: list[int]) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setgroups", denied)
    with pytest.raises(SystemExit):
        child.drop("65534:65534:65534")
    assert "cannot become uid 65534, gid 65534: Operation not permitted" in capsys.readouterr().err


def test_lines_for_a_log_that_nobody_reads_do_not_wait_and_are_counted() -> None:
    read_end, write_end = os.pipe()
    writer = LogWriter(write_end)
    begun = time.monotonic()
    for number in range(40_000):
        writer.put(f"{number:07} {'x' * 92}\n")
    assert time.monotonic() - begun < 10
    assert not writer.flush(0.1)
    text = b""
    while b"are lost" not in text:
        text += os.read(read_end, 1 << 16)
    lines = text.decode().splitlines()
    assert lines[0].startswith("0000000 ")
    kept = [line for line in lines if line.endswith("x")]
    lost = next(int(line.split()[0]) for line in lines if "are lost" in line)
    assert lost + len(kept) == 40_000
    assert writer.flush(10)
    os.close(read_end)
    os.close(write_end)


def test_descriptors_that_run_out_while_sockets_are_made_leave_none(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    real = socket.socketpair

    def socketpair() -> tuple[socket.socket, socket.socket]:
        nonlocal made
        made += 1
        if made > 3:
            raise OSError(24, "Too many open files")
        return real()

    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(socket, "socketpair", socketpair)
    with pytest.raises(OSError, match="Too many open files"):
        worker_process._pairs(10)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
