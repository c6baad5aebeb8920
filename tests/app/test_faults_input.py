"""Bad input of every kind: a clear error, the right exit status, and what serves goes on serving."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from buchner.cli import cli
from helpers.gateway import BUCHNER, Gateway, free_port
from helpers.instance import Instance
from helpers.load import APP, Load
from helpers.upstream import Upstream, answer
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("flask")

Run = Callable[..., Instance]

TOML = """
[app]
target = "shop:app"
workers = 1

[[server]]
listen = ["127.0.0.1:0"]
access_log = false
"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "gateway.toml").write_text(TOML)
    running = Instance(tmp_path, "run", "gateway.toml")
    yield running
    assert running.end() == 0, running.log


def buchner(directory: Path, *words: str) -> tuple[int, str]:
    """Exit status and what was said, of a command that must not keep running."""
    result = subprocess.run(
        [*BUCHNER, *words],
        cwd=directory,
        env={**os.environ, "BUCHNER_STATE_DIR": str(directory / "state")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return result.returncode, result.stderr + result.stdout


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["serve", "nowhere:app"], 3, 'there is no module "nowhere"'),
        (["serve", "broken:app"], 3, "raise ValueError('broken on purpose')"),
        (["serve", "shop:nothing"], 3, 'has no "nothing"'),
        (["serve", "shop:app", "--threads", "none"], 2, "'none' is not a valid integer"),
        (["serve", "shop:app", "--user", "nobody-of-this-name"], 2, "nobody-of-this-name"),
        (["run", "."], 2, "is a directory"),
        (["run", "latin.toml"], 2, "is not UTF-8 text"),
        (["run", "cut.toml"], 2, "cut.toml:2:"),
        (["run", "key.toml"], 2, 'did you mean "workers"?'),
        (["run", "nginx.conf"], 2, "nginx.conf:1:"),
    ],
)
def test_a_start_that_cannot_succeed_says_why(tmp_path: Path, words: list[str], status: int, said: str) -> None:
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "broken.py").write_text("raise ValueError('broken on purpose')\n")
    (tmp_path / "latin.toml").write_bytes(b'[app]\ntarget = "caf\xe9"\n')
    (tmp_path / "cut.toml").write_text("[app]\ntarget = \n")
    (tmp_path / "key.toml").write_text('[app]\ntarget = "shop:app"\nworkrs = 2\n')
    (tmp_path / "nginx.conf").write_text("server { listen 8080; no_such_directive on; }\n")
    bind = ["--bind", "127.0.0.1:0"] if words[0] == "serve" else []
    result, output = buchner(tmp_path, *words, *bind)
    assert said in output
    assert result == status
    assert "Traceback" not in output or status == 3, "only an app's own traceback is shown"


def test_a_file_that_may_not_be_read_is_said_to_be_so() -> None:
    with tempfile.TemporaryDirectory() as name:  # the directories of pytest are root's alone
        Path(name).chmod(0o755)
        unreadable(Path(name) / "gateway.toml")


def unreadable(file: Path) -> None:
    file.write_text(TOML)
    assert CliRunner().invoke(cli, ["check", str(file)]).exit_code == 0  # all that has to be imported is
    file.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        result = CliRunner().invoke(cli, ["check", str(file)])
    finally:
        if root:
            os.seteuid(0)
    assert result.exit_code == 2
    assert str(file) in result.output
    assert "cannot be read: Permission denied" in result.output


PROXY = '[[server]]\n[[server.route]]\npath = "/"\nproxy = "http://{address}"\n'


def test_an_upstream_that_is_down_is_502_with_its_cause(run_gateway: Callable[..., Gateway]) -> None:
    port = free_port()
    gateway = run_gateway(PROXY.format(address=f"localhost:{port}"))
    reply = gateway.get("/page")
    assert (reply.status, reply.get("x-buchner-error")) == (502, "upstream-connect")
    wait_for(lambda: "[error] 502: " in gateway.log, "the log line")
    (line,) = [line for line in gateway.log.splitlines() if "[error] 502: " in line]
    assert f"localhost:{port}" in line
    assert "refused" in line


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_localhost_means_every_address_it_has(
    run_gateway: Callable[..., Gateway], run_upstream: Callable[..., Upstream], host: str
) -> None:
    try:
        upstream = run_upstream(answer(b"found"), host)
    except OSError as error:
        pytest.skip(f"{host} is no address of this machine: {error}")
    gateway = run_gateway(PROXY.format(address=f"localhost:{upstream.port}"))
    assert [gateway.get().body for _ in range(3)] == [b"found"] * 3


@pytest.mark.parametrize(
    ("line", "place", "words"),
    [
        ("workrs = 2", "gateway.toml:5:1", 'did you mean "workers"?'),
        ("threads = 0", "gateway.toml:5:11", "threads"),
        ('chdir = "no/where"', "gateway.toml:5:9", "no/where"),
        ("threads = ", "gateway.toml:5:", ""),
    ],
)
def test_a_bad_configuration_on_reload_is_refused_with_its_place(
    instance: Instance, line: str, place: str, words: str
) -> None:
    (instance.directory / "gateway.toml").write_text(TOML.replace("workers = 1\n", f"workers = 1\n{line}\n"))
    workers = instance.ready_workers()
    with Load(instance.port) as load:
        instance.signal(signal.SIGHUP)
        instance.says("reload refused, nothing was changed")
        result = instance.command("reload")
        load.progress()
    assert result.returncode == 2
    for text in (result.stderr, instance.log):
        assert place in text
        assert words in text
    assert load.failures == []
    assert instance.ready_workers() == workers
    (instance.directory / "gateway.toml").write_text(TOML)
    assert instance.command("reload").returncode == 0
    assert instance.get("/n/1").body == b"GET 1 0"


def test_an_address_in_use_on_reload_is_refused_and_names_its_owner(instance: Instance) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        more = f'listen = ["127.0.0.1:0", "{address}"]'
        (instance.directory / "gateway.toml").write_text(TOML.replace('listen = ["127.0.0.1:0"]', more))
        with Load(instance.port) as load:
            result = instance.command("reload")
            load.progress()
    assert result.returncode == 1
    assert address in result.stderr
    assert f"(pid {os.getpid()})" in result.stderr
    assert load.failures == []


def test_code_that_breaks_is_not_put_in_force(instance: Instance) -> None:
    (instance.directory / "shop.py").write_text("import nothing_of_the_kind\n")
    with Load(instance.port) as load:
        result = instance.command("reload")
        load.progress()
    assert result.returncode == 3
    assert '"shop" needs the module "nothing_of_the_kind"' in result.stderr
    assert "import nothing_of_the_kind" in result.stderr, "the traceback"
    assert load.failures == []
