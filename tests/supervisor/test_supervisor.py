"""The supervisor over a fake gateway: what it says to gateway and workers, and what survives what."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from helpers.gateway import BUCHNER
from helpers.instance import Instance
from helpers.places import TESTS
from helpers.wait import wait_for

HERE = TESTS
APP = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'one']\n"


class Running:
    def __init__(self, directory: Path, *arguments: str, stderr: int | None = None) -> None:
        self.directory = directory
        state = directory / "state"
        state.mkdir(mode=0o700, exist_ok=True)
        self.log = directory / "gateway.jsonl"
        self.log.touch()
        self.log.chmod(0o666)
        self.output = directory / "output.txt"
        self.environ = {
            **os.environ,
            "FAKE_GATEWAY_LOG": str(self.log),
            "BUCHNER_STATE_DIR": str(state),
        }
        if (HERE.parent / "python" / "buchner" / "_native.so").exists():  # a source tree that was built in place
            self.environ["PYTHONPATH"] = str(HERE.parent / "python")
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "fakes" / "supervisor.py"), *arguments],
                cwd=directory, env=self.environ, stdout=output, stderr=output if stderr is None else stderr,
            )  # fmt: skip

    def text(self) -> str:
        return self.output.read_text()

    def says(self, words: str) -> None:
        wait_for(lambda: words in self.text() or self.process.poll() is not None, f"{words!r} in the log")
        assert words in self.text(), self.text()

    def messages(self, op: str) -> list[dict[str, Any]]:
        return [m for m in map(json.loads, self.log.read_text().splitlines()) if m["op"] == op]

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*BUCHNER, *arguments], env=self.environ, capture_output=True, text=True, check=False)

    def status(self) -> dict[str, Any]:
        result = self.ask("status", "--json")
        assert result.returncode == 0, result.stderr
        answer: dict[str, Any] = json.loads(result.stdout)
        return answer

    def workers(self) -> list[int]:
        return [worker["pid"] for worker in self.status()["pools"]["app"]["workers"]]

    def descendants(self) -> list[int]:
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found[1:]

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def begin(*arguments: str, app: str = APP) -> Running:
        (tmp_path / "shop.py").write_text(app)
        running.append(Running(tmp_path, *arguments))
        return running[-1]

    yield begin
    for one in running:
        one.end()


def test_it_starts_serves_and_stops(start: Callable[..., Running]) -> None:
    server = start("shop:app", "2")
    server.says("serving shop:app on http://127.0.0.1:")
    assert "(2 workers × 2 threads)" in server.text()
    wait_for(lambda: len(server.messages("worker")) == 2, "two workers were handed over")
    assert server.messages("listen")[0]["descriptors"] == 1
    assert server.messages("worker")[0]["descriptors"] == 1 + 2
    assert server.end() == 0
    assert server.messages("drain")
    assert not list((server.directory / "state").iterdir())


def test_an_app_that_fails_to_import_is_told_with_its_traceback(start: Callable[..., Running]) -> None:
    server = start("shop:app", "1", app="import nowhere_to_be_found\n")
    assert server.process.wait(20) == 3
    assert "import nowhere_to_be_found" in server.text()
    assert '"shop" needs the module "nowhere_to_be_found", which is not installed' in server.text()


def test_a_stop_during_the_start_is_no_failure(start: Callable[..., Running]) -> None:
    server = start("shop:app", "1", app="import time\nopen('importing', 'w').close()\ntime.sleep(60)\n")
    wait_for((server.directory / "importing").exists, "the import began")
    server.process.terminate()
    assert server.process.wait(20) == 0, server.text()


def test_a_sigterm_to_all_processes_is_a_stop_and_nothing_else(start: Callable[..., Running]) -> None:
    server = start("shop:app", "2")
    server.says("serving shop:app")
    for worker in server.workers():
        os.kill(worker, signal.SIGTERM)
    assert server.end() == 0
    assert "is replaced" not in server.text()
    assert "killed" not in server.text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGQUIT])
def test_a_signal_to_an_importing_worker_does_not_refuse_the_reload(
    start: Callable[..., Running], number: signal.Signals
) -> None:
    slow = "import time\nfrom pathlib import Path\nPath('importing').touch()\n"
    slow += "while not Path('go').exists():\n    time.sleep(0.02)\n"
    server = start("shop:app", "1")
    server.says("serving")
    before = server.workers()
    (server.directory / "shop.py").write_text(slow + APP)
    reload = subprocess.Popen(
        [*BUCHNER, "reload"], env=server.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    new = wait_for(lambda: [pid for pid in server.workers() if pid not in before], "a new worker")
    os.kill(new[0], number)  # while its interpreter starts, most likely
    wait_for((server.directory / "importing").exists, "the import began")
    os.kill(new[0], number)
    (server.directory / "go").touch()
    output, _ = reload.communicate(timeout=30)
    assert reload.returncode == 0, output
    assert new[0] in server.workers()


def test_reload_replaces_workers_start_first(start: Callable[..., Running]) -> None:
    server = start("shop:app", "2")
    server.says("serving")
    before = server.workers()
    result = server.ask("reload")
    assert result.returncode == 0, result.stderr
    wait_for(lambda: not set(before) & set(server.workers()), "the old workers ended")
    order = [m["op"] for m in map(json.loads, server.log.read_text().splitlines()) if m["op"] in ("worker", "retire")]
    assert order == ["worker", "worker", "worker", "worker", "retire", "retire"]


def test_reload_with_broken_code_keeps_the_old(start: Callable[..., Running]) -> None:
    server = start("shop:app", "1")
    server.says("serving")
    before = server.workers()
    (server.directory / "shop.py").write_text("raise ValueError('broken on purpose')\n")
    result = server.ask("reload")
    assert result.returncode == 3
    assert "broken on purpose" in result.stderr
    assert server.workers() == before


def test_reload_with_a_refused_plan_keeps_the_old(start: Callable[..., Running]) -> None:
    server = start("shop:app", "1")
    server.says("serving")
    before = server.workers()
    (server.directory / "spool").write_text("/")
    result = server.ask("reload")
    assert result.returncode == 1
    assert "no place to spool" in result.stderr
    wait_for(lambda: server.workers() == before, "only the old worker was there")


def test_no_reload_leaves_anything_of_itself(start: Callable[..., Running]) -> None:
    server = start("shop:app", "1")
    server.says("serving")
    for refused in (False, True, False, True, False):
        (server.directory / "spool").write_text("/" if refused else "")
        assert server.ask("reload").returncode == int(refused)
    wait_for(lambda: len(server.workers()) == 1, "only the newest worker was there")
    (server.directory / "counts.json").unlink(missing_ok=True)
    server.process.send_signal(signal.SIGRTMIN)
    file = server.directory / "counts.json"
    wait_for(file.exists, "the counts")
    counts = json.loads(file.read_text())
    kept = {kind: counts.get(kind, 0) for kind in ("Deployment", "Pool", "Force", "Loaded")}
    assert kept == {"Deployment": 0, "Pool": 1, "Force": 1, "Loaded": 1}
    descriptors = [str(each.readlink()) for each in Path(f"/proc/{server.process.pid}/fd").iterdir()]
    assert sum("memfd:buchner-plan" in each for each in descriptors) == 1


def test_a_killed_worker_is_replaced(start: Callable[..., Running]) -> None:
    server = start("shop:app", "1")
    server.says("serving")
    (victim,) = server.workers()
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(server.messages("worker")) == 2, "another worker was handed over")
    assert server.messages("gone")[0]["cause"].startswith("was killed")
    assert f"(pid {victim}) was killed" in server.text()


def test_a_killed_gateway_is_restarted_with_the_workers_there(start: Callable[..., Running]) -> None:
    server = start("shop:app", "2")
    server.says("serving")
    wait_for(lambda: len(server.messages("worker")) == 2, "two workers were handed over")
    before = server.workers()
    first = server.messages("plan")[0]["gateway"]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(server.messages("worker")) == 4, "the workers were handed to the next gateway")
    second = server.messages("plan")[-1]["gateway"]
    assert second != first
    assert [m["op"] for m in map(json.loads, server.log.read_text().splitlines()) if m["gateway"] == second] == [
        "listen", "plan", "worker", "worker",
    ]  # fmt: skip
    assert server.workers() == before


def test_a_hung_request_shows_its_stack_and_costs_the_worker(start: Callable[..., Running]) -> None:
    server = start("shop:app", "1")
    server.says("serving")
    (before,) = server.workers()
    wait_for(lambda: server.messages("worker"), "the worker was handed over")
    os.kill(server.messages("plan")[0]["gateway"], signal.SIGUSR1)
    server.says("where GET /slow (request id r1) hangs")
    assert "buchner/worker/main.py" in server.text()
    wait_for(lambda: before not in server.workers(), "the worker was replaced")
    (gone,) = wait_for(lambda: server.messages("gone"), "the gateway was told")
    assert "GET /slow (request id r1) hung" in gone["cause"]


def test_preload_forks_workers_that_are_replaced_too(start: Callable[..., Running]) -> None:
    server = start("shop:app", "2", "preload")
    server.says("serving")
    victim, other = server.workers()
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(server.messages("worker")) == 3, "another worker was handed over")
    wait_for(lambda: len(server.workers()) == 2, "there were two again")
    assert other in server.workers()
    assert victim not in server.workers()


def test_upgrade_keeps_pid_and_listeners_and_replaces_the_rest(start: Callable[..., Running]) -> None:
    server = start("shop:app", "1")
    server.says("serving")
    before = server.status()
    gateway = server.messages("plan")[0]["gateway"]
    result = server.ask("upgrade")
    assert result.returncode == 0, result.stderr + server.text()
    after = server.status()
    assert after["pid"] == before["pid"] == server.process.pid
    assert after["addresses"] == before["addresses"]
    wait_for(lambda: [g["pid"] for g in server.status()["gateways"]] != [gateway], "the gateway was replaced")
    wait_for(lambda: len(server.workers()) == 1, "the old worker ended")
    assert server.workers() != [worker["pid"] for worker in before["pools"]["app"]["workers"]]
    assert any(m["gateway"] == gateway for m in server.messages("drain"))


def test_upgrade_with_broken_code_changes_nothing(start: Callable[..., Running]) -> None:
    server = start("shop:app", "1")
    server.says("serving")
    before = server.workers()
    (server.directory / "shop.py").write_text("raise ValueError('broken on purpose')\n")
    result = server.ask("upgrade")
    assert result.returncode == 1
    assert "broken on purpose" in result.stderr
    assert server.workers() == before


def test_the_end_of_the_supervisor_ends_everything(start: Callable[..., Running]) -> None:
    server = start("shop:app", "1")
    server.says("serving")
    pids = [*server.workers(), server.messages("plan")[0]["gateway"]]
    server.process.kill()
    server.process.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "all processes ended")


RESUMED = """
import os, socket, sys, time
import msgspec
from buchner.serving import Serving
from buchner.supervisor.sealed_plan import SealedPlan
from buchner.supervisor.state import SavedListener, State

loaded = Serving("shop:app", ["127.0.0.1:0"], workers=1).load()
listener = socket.create_server(("127.0.0.1", 0))
plan = SealedPlan.seal(loaded.plan)
listeners = [SavedListener("127.0.0.1:0", listener.fileno(), None)]
state = State(1, listeners, [], [], plan, loaded.app, loaded.process, 7, 3, time.time(), -1)
memory = os.memfd_create("state", 0)
os.write(memory, msgspec.json.encode(state))
for fd in (memory, listener.fileno(), plan.fd):
    os.set_inheritable(fd, True)
os.environ["BUCHNER_UPGRADE_STATE"] = f"{os.getpid()}:{memory}"
os.execv(sys.executable, [sys.executable, "-m", "buchner", *sys.argv[1:]])
"""

FAILS_ONCE = """
import os, pathlib
names = [os.readlink(fd) for fd in pathlib.Path("/proc/self/fd").iterdir() if fd.is_symlink()]
if any("buchner-worker-8-" in name for name in names):
    raise ValueError("the first worker of the upgrade fails")
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"resumed"]
"""


def test_what_died_just_before_an_upgrade_is_started_though_the_upgrade_fails(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(FAILS_ONCE)
    words = ["serve", "shop:app", "--workers", "1", "--bind", "127.0.0.1:0"]
    instance = Instance(tmp_path, *words, command=("-c", RESUMED))
    try:
        assert instance.get().body == b"resumed"
        assert "upgrade refused, nothing was changed" in instance.log
    finally:
        instance.end()


def fill(pipe: int) -> None:
    """Write until nothing more goes in; the pipe is a blocking one again then."""
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x" * 4096)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x")
    os.set_blocking(pipe, True)


def replaced(server: Running, before: list[int]) -> bool:
    return server.workers() not in ([], before)


def test_a_full_pipe_at_standard_error_does_not_hold_the_supervisor(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    read_end, write_end = os.pipe()
    server = Running(tmp_path, "shop:app", "1", stderr=write_end)
    try:
        wait_for(lambda: server.messages("worker"), "it serves")
        fill(write_end)
        for _ in range(3):
            before = server.workers()
            os.kill(before[0], signal.SIGKILL)
            wait_for(partial(replaced, server, before), "a replacement")
        assert server.ask("reload").returncode == 0
        server.process.terminate()
        assert server.process.wait(20) == 0
    finally:
        server.process.kill()
        os.close(read_end)
        os.close(write_end)


def test_a_stopped_gateway_refuses_a_reload_in_time_and_holds_no_stop(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_PLAN_SECONDS", "1")
    server = start("shop:app", "1")
    server.says("serving")
    gateway = server.messages("plan")[0]["gateway"]
    os.kill(gateway, signal.SIGSTOP)
    result = server.ask("reload")
    assert result.returncode == 1
    assert "did not take the configuration in 1 s" in result.stderr
    assert server.status()["activity"] == ""
    os.kill(gateway, signal.SIGCONT)
    assert server.ask("reload").returncode == 0


def test_the_gateway_does_not_inherit_secrets(start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "geheim")
    monkeypatch.setenv("DATABASE_URL", "postgres://u:p@h/d")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    server = start("shop:app", "1")
    server.says("serving")
    of_gateway = Path(f"/proc/{server.messages('plan')[0]['gateway']}/environ").read_bytes().split(b"\0")
    names = {entry.partition(b"=")[0] for entry in of_gateway}
    assert b"LC_ALL=C.UTF-8" in of_gateway
    assert b"PATH" in names
    assert not {b"SECRET_KEY", b"DATABASE_URL", b"FAKE_GATEWAY_LOG", b"BUCHNER_STATE_DIR"} & names
    of_worker = Path(f"/proc/{server.workers()[0]}/environ").read_bytes()
    assert b"SECRET_KEY=geheim" in of_worker


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_control_socket_is_its_users_alone_and_is_found_again(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    state.chmod(0o755)
    before = os.umask(0)
    try:
        server = Running(tmp_path, "shop:app", "1")
    finally:
        os.umask(before)
    server.says("serving")
    pid = server.process.pid
    assert [mode(path) for path in (state, state / f"{pid}.sock", state / f"{pid}.json")] == [0o700, 0o600, 0o600]
    shutil.rmtree(state)
    wait_for(lambda: server.ask("status").returncode == 0, "the instance is found again")
    (state / f"{pid}.sock").unlink()
    wait_for(lambda: server.ask("reload").returncode == 0, "the instance is found again")
    assert mode(state) == 0o700
    assert server.end() == 0
    assert not list(state.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_another_user_may_not_ask_whatever_the_modes_say(start: Callable[..., Running]) -> None:
    server = start("shop:app", "1")
    server.says("serving")
    path = server.directory / "state" / f"{server.process.pid}.sock"
    path.chmod(0o777)
    for folder in path.parents:
        folder.chmod(folder.stat().st_mode | 0o011)
        if folder == server.directory.parents[1]:
            break
    program = "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
    program += 's.connect(sys.argv[1]); s.sendall(b\'{"op": "stop"}\\n\'); print(s.recv(100))'
    result = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False, cwd="/"
    )
    assert result.stdout.strip() == "b''" or "Error" in result.stderr, result
    assert server.status()["activity"] == ""


def test_a_signal_that_comes_twice_at_once_is_one(start: Callable[..., Running]) -> None:
    server = start("shop:app", "1")
    server.says("serving")
    os.kill(server.messages("plan")[0]["gateway"], signal.SIGSTOP)
    server.process.terminate()
    server.process.terminate()
    server.says("stopping: requests have 5 s to finish")
    os.kill(server.messages("plan")[0]["gateway"], signal.SIGCONT)
    assert server.process.wait(20) == 0
    assert "at once" not in server.text()


HANGS = "import os, time\nif os.path.exists('hang'):\n    time.sleep(10**6)\n"


def test_an_import_that_hangs_shows_where(start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_START_TIMEOUT", "2")
    for words in (["shop:app", "1"], ["shop:app", "1", "preload"]):
        server = start(*words, app="import time\ntime.sleep(10**6)\n")
        assert server.process.wait(30) == 1
        assert "still importing the app after start_timeout (2 s)" in server.text()
        assert 'shop.py", line 2' in server.text()


def test_an_upgrade_check_that_hangs_is_refused_and_does_not_stay(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_START_TIMEOUT", "6")  # a busy machine takes a while for the first import
    server = start("shop:app", "1", app=HANGS + APP)
    server.says("serving")
    before = server.descendants()
    (server.directory / "hang").touch()
    result = server.ask("upgrade")
    assert result.returncode == 1
    assert "still importing after start_timeout (6 s)" in result.stderr
    assert 'shop.py", line 3' in result.stderr
    wait_for(lambda: server.descendants() == before, "the check has ended")


def test_an_upgrade_check_ends_with_the_service(start: Callable[..., Running]) -> None:
    server = start("shop:app", "1", app=HANGS + APP)
    server.says("serving")
    (server.directory / "hang").touch()
    with subprocess.Popen([*BUCHNER, "upgrade"], env=server.environ, stderr=subprocess.DEVNULL):
        processes = wait_for(lambda: found if len(found := server.descendants()) == 4 else [], "the check imports")
        server.process.kill()
        server.process.wait()
        wait_for(lambda: all(state(pid) in ("Z", "") for pid in processes), "all processes ended", 30)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
