"""`buchner cert`, as a person types it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization

from buchner.certificates.challenges import Solvers
from buchner.certificates.clock import WallClock
from buchner.certificates.keeper import Keeper
from buchner.certificates.making import DAY, self_signed
from buchner.certificates.settings import HTTP, Wanted
from buchner.certificates.state import Stage, State
from buchner.cli import cli
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from buchner.certificates.pem import Pair
    from buchner.certificates.storage import Storage
    from helpers.pebble import Pebble, Responders


@pytest.fixture
def run(storage: Storage) -> Callable[..., tuple[int, str]]:
    """Run `buchner cert …`; returns the exit status and what was said."""

    def call(*arguments: str, said: str = "") -> tuple[int, str]:
        result = CliRunner().invoke(cli, ["cert", "--directory", str(storage.root), *arguments], input=said)
        return result.exit_code, result.output

    return call


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    pair = self_signed(["shop.test", "www.shop.test"])
    (tmp_path / "a.crt").write_bytes(pair.chain_pem)
    (tmp_path / "a.key").write_bytes(pair.key_pem)
    (tmp_path / "a.key").chmod(0o600)
    return str(tmp_path / "a.crt"), str(tmp_path / "a.key")


def rows_of(storage: Storage) -> str:
    """Who made the local authority, the last word of its name."""
    pair = storage.read("localhost")
    assert pair is not None
    return pair.issuer.split()[-1]


def test_the_list(run: Callable[..., tuple[int, str]], storage: Storage, files: tuple[str, str]) -> None:
    assert run("list") == (0, "no certificates\n")
    assert run("import", *files) == (0, "shop.test: imported, shop.test, www.shop.test, 90.0 days left\n")
    now = time.time()
    told = State(names=["*.b.test", "b.test"], stage=Stage.WAITING, failures=3, next_try=now + 630)
    told.last_error = "port 80 is closed"
    storage.save_state("*.b.test", told)
    run("local")
    status, text = run("list")
    assert status == 0
    assert [line.split() for line in text.splitlines()] == [
        ["name", "issuer", "days", "left", "stage", "next", "try"],
        ["*.b.test", "(+1)", "-", "-", "waiting", "in", "10", "min"],
        ["failed", "3", "times:", "port", "80", "is", "closed"],
        ["localhost", "(+2)", "Buchner", "development,", rows_of(storage), "90.0", "fixed", "-"],
        ["shop.test", "Buchner,", "self-signed", "90.0", "fixed", "-"],
    ]
    assert "development-root" not in text
    rows = {row["name"]: row for row in json.loads(run("list", "--json")[1])}
    assert sorted(rows) == ["*.b.test", "localhost", "shop.test"]
    assert rows["*.b.test"]["last_error"] == "port 80 is closed"
    assert rows["shop.test"]["stage"] == rows["localhost"]["stage"] == "fixed"
    assert 89.9 < rows["shop.test"]["days_left"] <= 90


def test_a_damaged_certificate_is_in_the_list(run: Callable[..., tuple[int, str]], storage: Storage) -> None:
    storage.write("a.test", self_signed(["a.test"]))
    (storage.root / "live" / "a.test" / "privkey.pem").write_bytes(b"")
    assert "privkey.pem: is empty" in run("list")[1]


def test_import_checks(run: Callable[..., tuple[int, str]], storage: Storage, files: tuple[str, str]) -> None:
    status, text = run("import", files[1], files[0])
    assert status == 2
    assert "are the two files in the wrong order?" in text
    assert storage.names() == []


def test_import_with_a_password_and_a_name(
    run: Callable[..., tuple[int, str]], storage: Storage, files: tuple[str, str], tmp_path: Path
) -> None:
    certificate, file = files
    key = serialization.load_pem_private_key(Path(file).read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"pw")
    )
    (tmp_path / "locked.key").write_bytes(locked)
    (tmp_path / "password").write_text("pw\n")
    options = ["--password-file", str(tmp_path / "password"), "--name", "mine.test"]
    status, text = run("import", certificate, str(tmp_path / "locked.key"), *options)
    assert (status, text.splitlines()[-1][:25]) == (0, "mine.test: imported, shop")
    kept = storage.read("mine.test")
    assert kept is not None
    assert b"ENCRYPTED" not in kept.key_pem


def test_an_imported_one_is_served_not_renewed_and_warned_of(
    run: Callable[..., tuple[int, str]], storage: Storage, files: tuple[str, str]
) -> None:
    class Late(WallClock):
        def now(self) -> float:
            return time.time() + 80 * DAY

    class Served:
        def put(self, name: str, _names: Any, _pair: Pair, *, temporary: bool) -> None:
            served.append((name, temporary))

        def drop(self, name: str) -> None:
            """Nothing."""

    served: list[tuple[str, bool]] = []
    run("import", *files)
    assert "was imported: import the new one" in run("renew", "shop.test")[1]
    keeper = Keeper(storage, Served(), Solvers(), clock=Late())
    keeper.keep([Wanted(names=("shop.test",))])
    keeper.step()
    keeper.settle()
    keeper.close()
    assert served == [("shop.test", False)]
    assert storage.state("shop.test").last_error == ""
    assert storage.state("shop.test").warned_at > 0


def test_renew_and_revoke_with_a_running_keeper(
    run: Callable[..., tuple[int, str]], storage: Storage, pebble: Pebble, responders: Responders
) -> None:
    class Served:
        def __init__(self) -> None:
            self.serials: list[str] = []

        def put(self, _name: str, _names: Any, pair: Pair, *, temporary: bool) -> None:
            if not temporary:
                self.serials.append(pair.serial)

        def drop(self, name: str) -> None:
            """Nothing."""

    served = Served()
    keeper = Keeper(storage, served, responders.solvers())
    keeper.keep([Wanted(names=("r.test",), issuers=(pebble.issuer(),), challenges=(HTTP,))])
    thread = threading.Thread(target=keeper.run)
    thread.start()
    try:
        wait_for(lambda: len(served.serials) == 1, "the first certificate")
        assert run("renew", "other.test")[0] == 1
        assert run("renew", "r.test") == (0, "r.test is renewed now; `buchner cert list` shows how it went\n")
        wait_for(lambda: len(served.serials) == 2, "the renewal")
        assert run("revoke", "r.test", said="n\n")[0] == 1
        status, text = run("revoke", "r.test", "--reason", "superseded", "--yes")
        assert (status, text) == (0, "r.test: revoked; a new one is ordered now\n")
        assert pebble.status_of(served.serials[1])["Status"] == "Revoked"
        wait_for(lambda: len(served.serials) == 3, "a new one for the revoked one")
    finally:
        keeper.close()
        thread.join()
    assert run("renew", "r.test")[1].startswith("r.test is renewed when an instance that keeps it is started")


def test_revoking_what_was_not_issued_here(run: Callable[..., tuple[int, str]], files: tuple[str, str]) -> None:
    run("import", *files)
    assert "was not issued to this directory" in run("revoke", "shop.test", "--yes")[1]


def test_a_local_certificate(run: Callable[..., tuple[int, str]], storage: Storage) -> None:
    status, text = run("local", "shop.test")
    assert status == 0
    assert text.startswith("localhost, shop.test, 127.0.0.1, ::1:\n")
    assert f"{storage.root}/live/localhost/fullchain.pem" in text
    assert "update-ca-certificates" in text


def test_without_a_directory_it_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    result = CliRunner().invoke(cli, ["cert", "--directory", str(file / "below"), "list"])
    assert result.exit_code != 0
    assert "set BUCHNER_CERTIFICATES to another one" in result.output


def test_what_the_page_shows_works(require_peer: Callable[[str], str], tmp_path: Path) -> None:
    """Each command of the example of `buchner cert` runs; what stands in quotation marks after it is said."""
    text = (Path(__file__).parents[2] / "docs" / "certificates.md").read_text()
    examples = [after.partition("```")[0] for after in text.split("```sh\n")[1:]]
    (example,) = (example for example in examples if "buchner cert " in example)
    require_peer("openssl")
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    lines = [line.partition("  #") for line in example.splitlines() if line.strip()]
    assert len(lines) > 4
    script = "".join(f"{command}\necho @@@ $?\n" for command, _, _ in lines)
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    said = re.split(r"@@@ (\d+)\n", done.stdout)
    for (command, _, comment), output, status in zip(lines, said[::2], said[1::2], strict=False):
        assert status == "0", f"{command}: {done.stderr}"
        if words := re.search(r'"(.*)"', comment):
            assert words[1] in output, f"{command}\n{output}"
