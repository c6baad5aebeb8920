"""`buchner nginx`: nginx's command line and signals, over real processes, beside real nginx where it is there."""

from __future__ import annotations

import os
import pwd
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buchner.nginx.command import UsageError, configure_arguments, parse
from helpers.gateway import BUCHNER, free_port
from helpers.raw import Raw, ask
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from helpers.upstream import Script, Upstream

PROGRAM = [*BUCHNER, "nginx"]


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *words], capture_output=True, text=True, check=False, cwd=cwd, timeout=60)


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (["-t"], {"test": True}),
        (["-T"], {"test": True, "dump": True}),
        (["-tq"], {"test": True, "quiet": True}),
        (["-t", "-c", "x"], {"test": True, "config": "x"}),
        (["-tcx", "-p/y"], {"test": True, "config": "x", "prefix": "/y"}),
        (["-c", "x", "-g", "daemon off;"], {"config": "x", "directives": "daemon off;"}),
        (["-sreload"], {"signal": "reload"}),
        (["-e", "stderr", "-h"], {"error_log": "stderr", "help": True}),
        (["-?"], {"help": True}),
        (["-vV"], {"version": True, "configure": True}),
        (["-"], {}),
        ([], {}),
    ],
)
def test_letters_share_words_as_in_nginx(words: list[str], fields: dict[str, object]) -> None:
    command = parse(words)
    assert {name: getattr(command, name) for name in command.__slots__ if getattr(command, name)} == fields


WRONG = [["-x"], ["t"], ["-p"], ["-c"], ["-g"], ["-e"], ["-s"], ["-s", "kill"], ["-tx"], ["--test"]]


@pytest.mark.parametrize("words", WRONG)
def test_what_nginx_does_not_take_is_refused_in_its_words(words: list[str], require_peer: Callable[[str], str]) -> None:
    with pytest.raises(UsageError) as raised:
        parse(words)
    theirs = subprocess.run([require_peer("nginx"), *words], capture_output=True, text=True, check=False)
    assert theirs.returncode == 1
    assert theirs.stderr == f"nginx: {raised.value}\n"


def test_version_help_and_modules() -> None:
    shown = run("-hV")
    assert shown.returncode == 0
    # nginx shows the name of a build behind its version like this; certbot reads the number.
    assert re.match(r"nginx version: nginx/1\.31\.5 \(buchner/\d[\w.]*\)\n", shown.stderr)
    assert "-s signal     : send signal to a master process: stop, quit, reopen, reload" in shown.stderr
    assert "configure arguments: --prefix=/usr/share/nginx --conf-path=/etc/nginx/nginx.conf" in shown.stderr


def test_modules_are_listed_by_what_their_directives_do() -> None:
    shown = configure_arguments()
    assert "--without-http_memcached_module" in shown
    assert "--without-http_fastcgi_module" not in shown
    assert "--without-http_proxy_module" not in shown
    assert "--with-http_ssl_module" in shown
    assert "--with-http_dav_module" not in shown
    assert "--without-http-cache" in shown
    assert "--without-http_ssi_module" in shown
    assert "--without-http_upstream_zone_module" not in shown


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "nginx.conf"
    path.write_text(
        f"pid {tmp_path}/nginx.pid;\nevents {{ }}\nhttp {{ access_log {tmp_path}/access.log;\n"
        f'server {{ listen 127.0.0.1:{free_port()};\nlocation / {{ return 200 "one"; }} }} }}\n'
    )
    return path


def port_of(conf: Path) -> int:
    found = re.search(r"127\.0\.0\.1:(\d+);", conf.read_text())
    assert found is not None
    return int(found[1])


def test_a_right_file_is_told_in_nginxs_words(conf: Path, require_peer: Callable[[str], str]) -> None:
    ours = run("-t", "-c", str(conf))
    theirs = subprocess.run(
        [require_peer("nginx"), "-e", "stderr", "-t", "-c", str(conf)], capture_output=True, text=True, check=False
    )
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    assert "test is successful" in ours.stderr
    quiet = run("-tq", "-c", str(conf))
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_a_wrong_file_is_told_with_every_problem(conf: Path) -> None:
    conf.write_text(conf.read_text() + "daemn off;\nworker_processes x;\n")
    shown = run("-t", "-c", str(conf))
    assert shown.returncode == 1
    assert shown.stdout == ""
    assert f'nginx: [emerg] unknown directive "daemn" (did you mean "daemon"?) in {conf}:6\n' in shown.stderr
    assert f'"x" is neither a number from 1 nor "auto" in {conf}:7\n  7 | worker_processes x;\n' in shown.stderr
    assert shown.stderr.endswith(f"nginx: configuration file {conf} test failed\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-c", "/nosuch/nginx.conf"], 'open() "/nosuch/nginx.conf" failed (2: No such file or directory)'),
        (["-g", "daemn off;"], 'unknown directive "daemn" (did you mean "daemon"?) in command line:1'),
        (["-g", "daemon off"], 'the file ends before the ";" of "daemon" in command line:1'),
        (["-g", "pid a; pid b;"], '"pid" stands in this block already, in line 1 in command line:1'),
    ],
)
def test_other_mistakes_are_told_as_well(conf: Path, words: list[str], message: str) -> None:
    shown = run("-t", "-c", str(conf), *words)
    assert shown.returncode == 1
    assert f"nginx: [emerg] {message}\n" in shown.stderr


def test_events_and_http_have_to_stand_there_as_in_nginx(conf: Path) -> None:
    conf.write_text("server { listen 8080; }\n")
    shown = run("-t", "-c", str(conf))
    assert shown.returncode == 1
    assert 'nginx: [emerg] no "events" section in configuration\n' in shown.stderr
    assert f'nginx: [emerg] "server" is not allowed in "main" but in http, upstream in {conf}:1\n' in shown.stderr


def test_a_test_opens_logs_and_binds_addresses(conf: Path) -> None:
    taken = socket.create_server(("127.0.0.1", port_of(conf)))
    with taken:  # an address that is in use is in use by the instance that runs
        assert run("-t", "-c", str(conf)).returncode == 0
    conf.write_text(conf.read_text().replace("127.0.0.1:", "192.0.2.1:").replace("access.log", "no/access.log"))
    shown = run("-t", "-c", str(conf))
    assert shown.returncode == 1
    assert "syntax is ok" in shown.stderr
    assert re.search(r"\[emerg\] bind\(\) to 192\.0\.2\.1:\d+ failed \(99: ", shown.stderr)
    assert f'[emerg] open() "{conf.parent}/no/access.log" failed (2: No such file or directory)' in shown.stderr


def test_the_dump_is_nginxs(conf: Path, require_peer: Callable[[str], str]) -> None:
    (conf.parent / "part.conf").write_text("# a part\ndefault_type text/plain;\n")
    conf.write_text(conf.read_text().replace("http {", "http { include part.conf; include part*.conf;"))
    conf.write_text(conf.read_text().replace("include part*.conf;", ""))
    theirs = subprocess.run(
        [require_peer("nginx"), "-e", "stderr", "-T", "-c", str(conf)], capture_output=True, text=True, check=False
    )
    ours = run("-T", "-c", str(conf))
    assert ours.returncode == 0
    assert ours.stdout == theirs.stdout


def test_relative_names_start_at_the_prefix_and_includes_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "nginx.conf").write_text("events { }\nhttp { include part.conf; }\n")
    (tmp_path / "conf" / "part.conf").write_text(
        f"access_log a.log;\nserver {{ listen 127.0.0.1:{free_port()}; root html; }}\n"
    )
    (tmp_path / "html").mkdir()
    shown = run("-p", str(tmp_path), "-t", "-g", "pid nginx.pid;")
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr.startswith(f"nginx: the configuration file {tmp_path}/conf/nginx.conf syntax is ok\n")
    assert (tmp_path / "a.log").exists()


class Instance:
    """A `buchner nginx` that went to the background."""

    def __init__(self, conf: Path) -> None:
        self.conf = conf
        self.port = port_of(conf)
        self.pid_file = conf.with_name("nginx.pid")
        said = conf.with_name("said.txt")
        with said.open("wb") as stderr:  # what goes to the background keeps it open
            status = subprocess.run([*PROGRAM, "-c", str(conf)], stderr=stderr, check=False, timeout=60).returncode
        assert (status, said.read_text()) == (0, "")
        self.pid = int(self.pid_file.read_text())

    def body(self) -> bytes:
        return ask(self.port, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").body

    def tell(self, name: str) -> subprocess.CompletedProcess[str]:
        return run("-c", str(self.conf), "-s", name)

    def children(self) -> list[int]:
        shown = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.pid)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in shown.stdout.split()]

    def is_alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        if self.is_alive():
            os.kill(self.pid, signal.SIGTERM)
            wait_for(lambda: not self.is_alive(), "the end")


@pytest.fixture
def start() -> Iterator[Callable[[Path], Instance]]:
    running: list[Instance] = []

    def begin(conf: Path) -> Instance:
        running.append(Instance(conf))
        return running[-1]

    yield begin
    for instance in running:
        instance.kill()


def replace(conf: Path, old: str, new: str) -> None:
    conf.write_text(conf.read_text().replace(old, new))


def test_it_goes_to_the_background_and_is_told_by_its_pid_file(conf: Path, start: Callable[[Path], Instance]) -> None:
    replace(conf, "events", f"error_log {conf.parent}/error.log notice;\nevents")
    instance = start(conf)
    assert instance.body() == b"one"
    replace(conf, "one", "two")
    assert instance.tell("reload").returncode == 0
    wait_for(lambda: instance.body() == b"two", "the reload")
    replace(conf, '"two"', "nosuch$nosuch")
    assert instance.tell("reload").returncode == 0
    wait_for(lambda: 'unknown variable "$nosuch"' in conf.with_name("error.log").read_text(), "the refusal")
    assert instance.body() == b"two"
    replace(conf, "nosuch$nosuch", '"two"')
    conf.with_name("access.log").rename(conf.with_name("old.log"))
    assert instance.tell("reopen").returncode == 0
    wait_for(lambda: instance.body() and conf.with_name("access.log").exists(), "the new log")
    stopped = instance.tell("quit")
    assert stopped.returncode == 0
    assert stopped.stderr == ""
    wait_for(lambda: not instance.is_alive(), "the end")
    assert not instance.pid_file.exists()
    gone = instance.tell("quit")
    assert gone.returncode == 1
    assert gone.stderr == f'nginx: [error] open() "{instance.pid_file}" failed (2: No such file or directory)\n'


def test_a_pid_file_without_a_process_is_told(conf: Path) -> None:
    conf.with_name("nginx.pid").write_text("what\n")
    assert (
        f'[error] invalid PID number "what" in "{conf.parent}/nginx.pid"' in run("-c", str(conf), "-s", "stop").stderr
    )
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    conf.with_name("nginx.pid").write_text(f"{ended.pid}\n")
    shown = run("-c", str(conf), "-s", "stop")
    assert shown.returncode == 1
    assert shown.stderr == f"nginx: [alert] kill({ended.pid}, 15) failed (3: No such process)\n"


def waiting(gate: list[socket.socket]) -> Script:
    """An upstream that keeps its requests until the test answers."""

    def script(connection: socket.socket, _head: bytes) -> bool:
        gate.append(connection)
        wait_for(lambda: not gate, "the answer", 30)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        return False

    return script


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGTERM, signal.SIGINT], ids=["QUIT", "TERM", "INT"])
def test_quit_waits_for_requests_and_term_does_not(
    conf: Path,
    start: Callable[[Path], Instance],
    run_upstream: Callable[[Script], Upstream],
    number: int,
) -> None:
    gate: list[socket.socket] = []
    upstream = run_upstream(waiting(gate))
    replace(conf, 'return 200 "one"', f"proxy_pass http://127.0.0.1:{upstream.port}")
    instance = start(conf)
    with Raw(instance.port) as client:
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: gate, "the request")
        os.kill(instance.pid, number)
        if number == signal.SIGQUIT:
            wait_for(lambda: refuses(instance.port), "the end of accepting")
            assert instance.is_alive()
            gate.clear()
            assert client.reply().body == b"late"
        else:
            wait_for(lambda: not instance.is_alive(), "the end", 10)
            gate.clear()
            with pytest.raises((EOFError, ConnectionError)):
                client.reply()
    wait_for(lambda: not instance.is_alive(), "the end")


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_winch_ends_the_gateway_and_hup_brings_it_back(conf: Path, start: Callable[[Path], Instance]) -> None:
    instance = start(conf)
    (before,) = instance.children()
    os.kill(instance.pid, signal.SIGWINCH)
    wait_for(lambda: not instance.children(), "the gateway's end")
    with Raw(instance.port) as client:  # the listening socket is kept: connections queue
        client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        os.kill(instance.pid, signal.SIGHUP)
        assert client.reply().body == b"one"
    assert instance.children() != [before]


def test_usr2_puts_the_new_program_in_place_of_the_old(conf: Path, start: Callable[[Path], Instance]) -> None:
    instance = start(conf)
    (before,) = instance.children()
    replace(conf, "one", "two")
    os.kill(instance.pid, signal.SIGUSR2)
    wait_for(lambda: instance.body() == b"two", "the new program")
    wait_for(lambda: before not in instance.children(), "the old gateway's end")
    assert instance.is_alive()
    os.kill(instance.pid, signal.SIGQUIT)
    wait_for(lambda: not instance.is_alive(), "the end")


def test_it_stays_in_the_foreground_when_told_so(conf: Path) -> None:
    words = [*PROGRAM, "-c", str(conf), "-g", "daemon off; worker_rlimit_nofile 1234;"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert "serving" in process.stderr.readline()
            assert conf.with_name("nginx.pid").read_text() == f"{process.pid}\n"
            (child,) = subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(process.pid)], text=True).split()
            with open(f"/proc/{child}/limits") as limits:  # noqa: PTH123 - /proc
                assert re.search(r"Max open files +1234 ", limits.read())
            os.kill(process.pid, signal.SIGWINCH)  # a terminal's window has changed
            assert ask(port_of(conf), "GET / HTTP/1.0\r\n\r\n").status == 200
        finally:
            process.send_signal(signal.SIGQUIT)
        assert process.wait(20) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_the_gateway_has_the_threads_and_the_user_it_is_told(conf: Path, start: Callable[[Path], Instance]) -> None:
    conf.write_text("worker_processes 3;\nuser daemon;\n" + conf.read_text())
    (child,) = start(conf).children()
    status = Path(f"/proc/{child}/status").read_text()
    assert re.search(rf"^Uid:\s+{pwd.getpwnam('daemon').pw_uid}\s", status, re.MULTILINE)
    threads = sorted(file.read_text().strip() for file in Path(f"/proc/{child}/task").glob("*/comm"))
    assert [name for name in threads if name.startswith("io-")] == ["io-0", "io-1", "io-2"]


def test_quit_waits_for_requests_as_long_as_it_is_told(
    conf: Path, start: Callable[[Path], Instance], run_upstream: Callable[[Script], Upstream]
) -> None:
    gate: list[socket.socket] = []
    upstream = run_upstream(waiting(gate))
    replace(conf, 'return 200 "one"', f"proxy_pass http://127.0.0.1:{upstream.port}")
    conf.write_text("worker_shutdown_timeout 1s;\n" + conf.read_text())
    instance = start(conf)
    with Raw(instance.port) as client:
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: gate, "the request")
        os.kill(instance.pid, signal.SIGQUIT)
        wait_for(lambda: not instance.is_alive(), "the end", 10)
        gate.clear()


def test_the_command_is_installed_under_its_own_name() -> None:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow, and only this test needs it

    (script,) = [entry for entry in entry_points(group="console_scripts") if entry.name == "buchner-nginx"]
    assert script.load().__module__ == "buchner.nginx.program"


LINE = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\d+\] \[(debug|info|notice|warn|error|crit|alert|emerg)\] \S.*")


def test_it_starts_with_its_standard_streams_closed(conf: Path) -> None:
    conf.write_text(f"error_log {conf.parent}/error.log notice;\n{conf.read_text()}")
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", *PROGRAM, "-c", str(conf)], check=False, timeout=60
    )
    assert closed.returncode == 0
    assert ask(port_of(conf), b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").body == b"one"
    pid = int((conf.parent / "nginx.pid").read_text())
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for process in [pid, *map(int, children)]:
        streams = [str(Path(f"/proc/{process}/fd/{fd}").readlink()) for fd in (0, 1)]
        assert streams == ["/dev/null", "/dev/null"]
    os.kill(pid, signal.SIGHUP)
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not (conf.parent / "nginx.pid").exists(), "the end")
    for line in (conf.parent / "error.log").read_text().splitlines():
        assert LINE.fullmatch(line), line


@pytest.mark.parametrize("daemon", ["on", "off"])
def test_a_start_that_fails_is_in_the_error_log_too(conf: Path, daemon: str) -> None:
    log = conf.parent / "error.log"
    with socket.create_server(("127.0.0.1", port_of(conf))):
        conf.write_text(f"error_log {log};\ndaemon {daemon};\n{conf.read_text()}")
        shown = run("-c", str(conf))
    assert shown.returncode == 1
    assert "in use" in shown.stderr
    (line,) = log.read_text().splitlines()
    assert LINE.fullmatch(line)
    assert "[emerg] cannot listen on 127.0.0.1" in line
    assert "in use" in line
    wrong = conf.parent / "wrong.log"
    conf.write_text(f"{conf.read_text()}\nnonsense;\n")
    assert run("-e", str(wrong), "-c", str(conf)).returncode == 1
    assert "[emerg] " in wrong.read_text()
    assert 'unknown directive "nonsense"' in wrong.read_text()
    assert all(LINE.fullmatch(line) for line in wrong.read_text().splitlines())
