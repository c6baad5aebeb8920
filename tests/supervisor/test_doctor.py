"""`buchner doctor`: each thing that is wrong is found and told, and nothing is where all is well."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buchner.certificates.authority import Authority
from buchner.certificates.making import DAY
from buchner.certificates.storage import Storage
from buchner.cli import doctor
from buchner.supervisor import memory
from helpers.gateway import BUCHNER, free_port
from helpers.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Iterator

APP = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'one']\n"
SERVER = '[[server]]\nlisten = ["127.0.0.1:{port}"]\n[[server.route]]\npath = "/"\nrespond = 204\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BUCHNER_STATE_DIR", str(tmp_path / "state"))
    for name in ("PORT", "FLASK_APP", "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    Path("shop.py").write_text(APP)
    return tmp_path


def findings(toml: str, topic: str, level: str | None = None) -> list[doctor.Finding]:
    Path("gateway.toml").write_text(toml)
    found = doctor.examine("gateway.toml", [])
    return [one for one in found if one.topic.startswith(topic) and level in (None, one.level)]


def finding(toml: str, topic: str, level: str | None = None) -> doctor.Finding:
    (one,) = findings(toml, topic, level)
    return one


def test_a_sound_setup_has_no_problem(here: Path) -> None:
    port = free_port()
    toml = SERVER.replace("respond = 204", "app = true").format(port=port)
    Path("gateway.toml").write_text(
        f'[gateway]\nspool_dir = "{here}"\nspool_max = "1m"\n[app]\ntarget = "shop:app"\n{toml}'
    )
    here.chmod(0o755)
    result = subprocess.run([*BUCHNER, "doctor", "gateway.toml"], capture_output=True, text=True, check=False)
    levels = {line.split()[0] for line in result.stdout.splitlines()[:-1] if not line.startswith(" ")}
    assert f"ok       address 127.0.0.1:{port}: is free" in result.stdout
    assert "ok       app: shop:app can be imported" in result.stdout
    assert (result.returncode == 0) == ("problem" not in levels)
    if os.geteuid() != 0:  # as root the gateway is nobody, who may not enter the directory of the tests
        assert result.returncode == 0, result.stdout


def test_a_port_in_use_is_told_with_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = finding(SERVER.format(port=taken.getsockname()[1]), "address")
        assert found.level == "problem"
        assert f"(pid {os.getpid()}): stop it" in found.text
        assert found.text.startswith("the port is in use by ")


def test_a_unix_socket_in_use_and_one_without_a_directory(here: Path) -> None:
    toml = SERVER.replace("127.0.0.1:{port}", "unix:" + str(here / "a.sock"))
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(here / "a.sock"))
        assert finding(toml, "address").level == "ok"  # nobody listens: it would be replaced
        assert (here / "a.sock").exists()
        taken.listen()
        assert f"(pid {os.getpid()})" in finding(toml, "address", "problem").text
    assert "there is no directory" in finding(toml.replace("a.sock", "no/a.sock"), "address", "problem").text


def test_an_app_that_fails_to_import() -> None:
    Path("shop.py").write_text("import nowhere_to_be_found\n")
    found = finding('[app]\ntarget = "shop:app"\n', "app", "problem")
    assert 'needs the module "nowhere_to_be_found"' in found.text
    assert "shop.py" in found.text


def test_an_upstream_that_is_down(here: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as up:
        servers = f'"127.0.0.1:{port}", "127.0.0.1:{up.getsockname()[1]}", "unix:{here}/no.sock"'
        toml = f"[upstream.up]\nservers = [{servers}]\n" + SERVER.replace("respond = 204", 'proxy = "http://up"')
        found = findings(toml.format(port=free_port()), "upstream up")
        assert [one.level for one in found] == ["ok", "warning", "warning"]
        assert "refused the connection" in found[1].text
        assert "no.sock does not exist" in found[2].text
    found = findings(f'[[server]]\n[[server.route]]\npath = "/"\nproxy = "http://127.0.0.1:{port}"\n', "upstream")
    assert [one.level for one in found] == ["problem"]


def test_logs_and_folders_that_cannot_be_reached(here: Path) -> None:
    toml = f'access_log = "no/a.log"\n{SERVER.format(port=free_port())}'
    assert "there is no directory" in finding(toml, "log", "problem").text
    toml = f'[gateway]\nspool_dir = "{here}/no"\n{SERVER.format(port=free_port())}'
    assert "there is no directory" in finding(toml, "", "problem").text


def test_routes_without_content_are_no_problem(here: Path) -> None:
    locations = "location /a { internal; } location / { return 204; }"
    (here / "nginx.conf").write_text(f"events {{}} http {{ server {{ listen 127.0.0.1:{free_port()}; {locations} }} }}")
    assert not [one for one in doctor.examine("nginx.conf", []) if one.level == "problem"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_what_the_gateways_user_may_not_enter_is_named(here: Path) -> None:
    closed = here / "closed"
    (closed / "logs").mkdir(parents=True)
    for directory in (here, *here.parents):
        if directory.stat().st_uid == 0 and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o011)
    closed.chmod(0o700)
    toml = f'access_log = "{closed}/logs/a.log"\n{SERVER.format(port=free_port())}'
    found = finding(toml, "log", "problem")
    assert found.text.endswith(f"may not enter {closed}")
    assert f"chmod o+x {closed}" in found.advice


def test_a_spool_in_memory() -> None:
    if doctor._file_system("/dev/shm") != "tmpfs":
        pytest.skip("no tmpfs at /dev/shm")
    found = finding(f'[gateway]\nspool_dir = "/dev/shm"\n{SERVER.format(port=free_port())}', "spool")
    assert found.level == "warning"
    assert "kept in memory" in found.text


@pytest.mark.parametrize(
    ("listen", "trusted", "level"),
    [
        ("0.0.0.0:0", '["*"]', "warning"),
        ("0.0.0.0:0", "[]", "ok"),
        ("127.0.0.1:0", "[]", "note"),
        ("127.0.0.1:0", '["127.0.0.1"]', "ok"),
    ],
)
def test_whose_forwarded_headers_are_believed(listen: str, trusted: str, level: str) -> None:
    toml = SERVER.replace("127.0.0.1:{port}", listen)
    assert finding(f"[gateway]\ntrusted_proxies = {trusted}\n{toml}", "trusted proxies").level == level


def test_too_many_workers_for_the_cores_and_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    toml = '[app]\ntarget = "shop:app"\nworkers = 100\n'
    monkeypatch.setattr("buchner.cpus.usable", lambda: 2)
    monkeypatch.setattr(memory, "limit", lambda: 1 << 30)
    assert "100 × 2 threads on 2 cores" in finding(toml, "workers", "warning").text
    assert "1024 MiB of memory for 100 workers" in finding(toml, "memory", "warning").text


def test_memory_is_that_of_the_control_group(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/a/b\n")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "memory.max").write_text("100000\n")
    (tmp_path / "a" / "b" / "memory.max").write_text("max\n")
    (tmp_path / "a" / "memory.current").write_text("5000\n")
    (tmp_path / "a" / "memory.stat").write_text("anon 1\ninactive_file 1000\n")
    assert memory.limit(tmp_path, tmp_path / "membership") == 100_000
    assert memory.used(tmp_path, tmp_path / "membership") == 4000
    assert memory.used(tmp_path, tmp_path / "nothing") is None


def test_a_configuration_that_cannot_be_used_is_the_one_finding() -> None:
    Path("gateway.toml").write_text("[app]\ntarget = 1\n")
    (one,) = doctor.examine("gateway.toml", [])
    assert one.level == "problem"
    assert "gateway.toml:2:10" in one.text


class TestARunningInstance:
    @pytest.fixture
    def instance(self, here: Path) -> Iterator[Instance]:
        instance = Instance(here, "serve", "shop:app", "--bind", "127.0.0.1:0", "--workers", "1")
        yield instance
        instance.end()

    def test_it_is_found_and_its_addresses_are_its_own(self, instance: Instance) -> None:
        result = instance.command("doctor", "--json")
        found = {(one["topic"], one["level"]): one["text"] for one in json.loads(result.stdout)}
        assert found[f"address 127.0.0.1:{instance.port}", "ok"] == "is served by this instance"
        assert found[f"instance {instance.process.pid}", "ok"].startswith("answers, up ")
        assert found["app", "ok"] == "shop:app can be imported"

    def test_a_gateway_that_does_not_answer_is_told(self, instance: Instance) -> None:
        (gateway,) = instance.gateways()
        os.kill(gateway, 19)  # SIGSTOP
        try:
            result = instance.command("doctor")
        finally:
            os.kill(gateway, 18)
        assert result.returncode == 1
        assert "its gateway process does not answer" in result.stdout


def test_certificates_that_end_are_told(here: Path) -> None:
    storage = Storage(here / "authority")
    for name in ("good", "old"):
        pair = Authority(storage, time.time() - 80 * DAY if name == "old" else None).sign([f"{name}.test"])
        (here / f"{name}.pem").write_bytes(pair.chain_pem + pair.key_pem)
        (here / f"{name}.pem").chmod(0o600)
    server = (
        '[[server]]\nlisten = "127.0.0.1:{port} tls"\nnames = "{name}.test"\n[server.tls]\ncertificate = "{name}.pem"\n'
    )
    port = free_port()
    toml = "".join(server.format(name=name, port=port) for name in ("good", "old"))
    assert "good.test, by " in finding(toml, "certificate good.pem", "ok").text
    assert "expires in 10.0 days" in finding(toml, "certificate old.pem", "warning").text
