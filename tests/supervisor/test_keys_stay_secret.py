"""Private keys and keys for tickets are in their files and in the gateway; nothing that is said or written has them."""

from __future__ import annotations

import base64
import fcntl
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buchner.certificates.authority import Authority
from buchner.certificates.pem import load_pair
from buchner.certificates.storage import Storage
from helpers.instance import Instance
from helpers.load import APP
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("flask")

TOML = """
[gateway]
user = "root"
development = true
[app]
target = "shop:app"
workers = 1
[[server]]
listen = "127.0.0.1:0 tls"
[server.tls]
certificate = "a.pem"
key = "a.key"
ticket_keys = ["tickets"]
[[server.route]]
path = "/"
app = true
"""
NGINX = "http { server { listen 127.0.0.1:1 ssl; ssl_certificate a.pem; ssl_certificate_key a.key; } }"
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    pair = Authority(Storage(tmp_path / "authority")).sign(["a.test"])
    other = Authority(Storage(tmp_path / "authority")).sign(["a.test"])
    for name, content in {
        "a.pem": pair.chain_pem,
        "a.key": pair.key_pem,
        "other.key": other.key_pem,
        "tickets": os.urandom(48),
        "shop.py": APP.encode(),
        "gateway.toml": TOML.encode(),
        "nginx.conf": NGINX.encode(),
    }.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    started = Instance(tmp_path, "run", "gateway.toml")
    yield started
    started.end()


def secrets(directory: Path) -> list[bytes]:
    """What must be seen nowhere: each key as it is written, as it is, and what it is written as in a plan."""
    found = [(directory / "tickets").read_bytes(), base64.b64encode((directory / "tickets").read_bytes())]
    for name in ("a.key", "other.key"):
        text = (directory / name).read_bytes()
        found += [line for line in text.splitlines() if not line.startswith(b"-----")]
    found.append(load_pair(directory / "a.pem", directory / "a.key").key[-32:])
    return found


def test_no_output_and_no_file_has_a_key(instance: Instance, tmp_path: Path) -> None:
    hidden = secrets(tmp_path)
    own = {"a.key", "other.key", "tickets"}
    said = []
    for words in (
        ["status"], ["status", "--json"], ["check", "gateway.toml"], ["check", "--json", "gateway.toml"],
        ["check", "nginx.conf"], ["check", "--json", "nginx.conf"], ["convert", "nginx.conf"], ["doctor"],
        ["doctor", "--json"], ["reload"], ["upgrade"],
    ):  # fmt: skip
        done = instance.command(*words)
        assert done.stdout + done.stderr, words
        said.append(done.stdout + done.stderr)
    key = (tmp_path / "a.key").read_bytes()
    for broken in (
        (tmp_path / "other.key").read_bytes(),
        key[: len(key) // 2],
        key.replace(b"M", b"!"),
        key.replace(b"PRIVATE", b"SECRET"),
    ):
        (tmp_path / "a.key").write_bytes(broken)
        done = instance.command("reload")
        assert done.returncode != 0, broken
        said += [done.stdout + done.stderr, instance.command("check", "gateway.toml").stderr]
        assert "a.key" in said[-1]
    instance.says("the certificate in force stays", 30)
    (tmp_path / "a.key").write_bytes(key)
    (tmp_path / "tickets").write_bytes(b"short but secret")
    said.append(instance.command("reload").stderr)
    assert "a key has 48 or 80" in said[-1]
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name not in own]
    written = [path for path in written if "authority" not in path.parts]
    assert any("state" in path.parts for path in written) or (tmp_path / "state").is_dir()
    for where, content in [*(("output", text.encode()) for text in said), *((p, p.read_bytes()) for p in written)]:
        for secret in [*hidden, b"short but secret"]:
            assert secret not in content, (where, content)


def test_a_plan_is_sealed_and_given_to_nobody_else(instance: Instance) -> None:
    def plans(pid: int) -> list[Path]:
        return [fd for fd in Path(f"/proc/{pid}/fd").iterdir() if "buchner-plan" in str(fd.readlink())]

    (plan,) = plans(instance.process.pid)
    descriptor = os.open(plan, os.O_RDONLY)
    try:
        assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) == SEALS
    finally:
        os.close(descriptor)
    flags = re.search(r"flags:\s*(\d+)", Path(f"/proc/{instance.process.pid}/fdinfo/{plan.name}").read_text())
    assert flags is not None
    assert int(flags[1], 8) & os.O_CLOEXEC
    instance.command("upgrade")
    wait_for(lambda: len(plans(instance.process.pid)) == 1, "one plan after the upgrade", 30)
    (plan,) = plans(instance.process.pid)
    flags = re.search(r"flags:\s*(\d+)", Path(f"/proc/{instance.process.pid}/fdinfo/{plan.name}").read_text())
    assert flags is not None
    assert int(flags[1], 8) & os.O_CLOEXEC
    for pid in instance.workers():
        assert plans(pid) == []
        assert b"PRIVATE" not in Path(f"/proc/{pid}/environ").read_bytes()
