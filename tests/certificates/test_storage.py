"""The directory of certificates: whole versions, locks, accounts, certbot's layout."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from buchner.certificates.making import self_signed
from buchner.certificates.state import Stage, State, Window
from buchner.certificates.storage import (
    Account,
    Storage,
    certbot_names,
    default_directory,
    file_name,
    read_certbot,
)
from buchner.errors import BuchnerError, ConfigError


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "certificates")


def test_what_was_written_is_read(storage: Storage) -> None:
    pair = self_signed(["shop.test", "192.0.2.1"])
    assert storage.read("shop.test") is None
    storage.write("shop.test", pair)
    assert storage.read("shop.test") == pair
    assert storage.names() == ["shop.test"]
    live = storage.root / "live" / "shop.test"
    assert live.joinpath("fullchain.pem").read_bytes() == pair.chain_pem
    assert live.joinpath("privkey.pem").stat().st_mode & 0o777 == 0o600
    assert storage.root.stat().st_mode & 0o777 == 0o700


def test_keys_stay_private_with_any_umask(storage: Storage) -> None:
    before = os.umask(0)
    try:
        storage.write("a.test", self_signed(["a.test"]))
        storage.save_account("https://ca.test/", Account("https://ca.test/1", "key"))
    finally:
        os.umask(before)
    keys = [path for path in storage.root.rglob("*") if path.name in ("privkey.pem", "key.pem")]
    assert len(keys) == 2
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in storage.root.rglob("*") if path.is_dir()} == {0o700}


def test_three_versions_stay_and_each_has_a_number_of_its_own(storage: Storage) -> None:
    versions = set()
    for _ in range(5):
        storage.write("a.test", self_signed(["a.test"]))
        versions.add(storage.version("a.test"))
    assert len(versions) == 5
    assert sorted(path.name for path in (storage.root / "archive" / "a.test").iterdir()) == ["3", "4", "5"]


def test_a_reader_never_sees_half_a_change(storage: Storage) -> None:
    pairs = [self_signed(["a.test"]) for _ in range(4)]
    storage.write("a.test", pairs[0])
    over = threading.Event()

    def replace() -> None:
        for number in range(200):
            storage.write("a.test", pairs[number % 4])
        over.set()

    thread = threading.Thread(target=replace)
    thread.start()
    reads = 0
    while not over.is_set():
        assert storage.read("a.test") in pairs
        reads += 1
    thread.join()
    assert reads > 10


def test_a_disk_that_refuses_leaves_the_one_in_force(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    old = self_signed(["a.test"])
    storage.write("a.test", old)

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(BuchnerError, match=r"of a\.test cannot be kept in .*: No space left"):
            storage.write("a.test", self_signed(["a.test"]))
        with pytest.raises(BuchnerError, match="No space left"):
            storage.save_state("a.test", State())
    assert storage.read("a.test") == old
    assert [path.name for path in storage.root.rglob("*") if path.name.startswith((".", "new"))] == []


def test_a_directory_others_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(BuchnerError, match="no other may write to it"):
        Storage(tmp_path / "open")


def test_state_is_kept_and_a_damaged_one_is_as_none(storage: Storage) -> None:
    state = State(names=["a.test"], stage=Stage.WAITING, next_try=5.0, window=Window(1.0, 3.0, 2.0), resting={"x": 9.0})
    storage.save_state("*.a.test", state)
    assert storage.state("*.a.test") == state
    assert storage.names() == ["_.a.test"]
    (storage.root / "state" / "_.a.test.json").write_text('{"failures": "many"')
    assert storage.state("*.a.test") == State()


def test_accounts_are_kept_by_authority(storage: Storage) -> None:
    account = Account("https://ca.test/account/1", "SECRET", "me@shop.test")
    storage.save_account("https://ca.test/directory", account)
    assert storage.account("https://ca.test/directory") == account
    assert storage.account("https://ca.test/other") is None
    assert "SECRET" not in repr(account)
    storage.forget_account("https://ca.test/directory")
    assert storage.account("https://ca.test/directory") is None


def test_wishes_are_told_once(storage: Storage) -> None:
    storage.wish_renewal("*.a.test")
    assert storage.take_wishes() == {"_.a.test"}
    assert storage.take_wishes() == set()


def test_a_lock_is_respected_by_other_processes_and_ends_with_them(storage: Storage) -> None:
    held = (
        "import sys, os; from pathlib import Path; from buchner.certificates.storage import Storage\n"
        "with Storage(Path(sys.argv[1])).lock('a.test') as had: print(had, flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", held, str(storage.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"True\n"
        with storage.lock("a.test") as had:
            assert not had
        with storage.lock("b.test") as had:
            assert had
        other.kill()
    with storage.lock("a.test") as had:
        assert had


def test_whether_somebody_keeps_it(storage: Storage) -> None:
    assert not storage.is_kept
    with storage.lock("keeper", shared=True) as one, storage.lock("keeper", shared=True) as two:
        assert one
        assert two
        assert storage.is_kept


@pytest.mark.parametrize("name", ["", "..", ".a", "a/b", "a\0", "-a", "a."])
def test_names_that_are_no_files(name: str) -> None:
    with pytest.raises(ConfigError):
        file_name(name)


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.delenv("BUCHNER_CERTIFICATES", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_directory() == Path("/var/lib/buchner/certificates")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/me/state")
    assert default_directory() == Path("/home/me/state/buchner/certificates")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/shop:/var/lib/other")
    assert default_directory() == Path("/var/lib/shop/certificates")
    monkeypatch.setenv("BUCHNER_CERTIFICATES", "/mine")
    assert default_directory() == Path("/mine")


def test_certbots_directory_is_read_as_it_is(tmp_path: Path) -> None:
    """Links from live to archive, replaced one by one."""
    old, new = self_signed(["a.test"]), self_signed(["a.test"])
    live, archive = tmp_path / "live" / "a.test", tmp_path / "archive" / "a.test"
    live.mkdir(parents=True)
    archive.mkdir(parents=True)
    (tmp_path / "live" / "README").write_text("certbot puts one here")
    for number, pair in ((1, old), (2, new)):
        (archive / f"fullchain{number}.pem").write_bytes(pair.chain_pem)
        key = archive / f"privkey{number}.pem"
        key.write_bytes(pair.key_pem)
        key.chmod(0o600)

    def link(file: str, number: int) -> None:
        (live / "new").symlink_to(f"../../archive/a.test/{file}{number}.pem")
        (live / "new").rename(live / f"{file}.pem")

    link("fullchain", 1)
    link("privkey", 1)
    assert certbot_names(tmp_path) == ["a.test"]
    assert read_certbot("a.test", tmp_path) == old
    link("privkey", 2)
    with pytest.raises(ConfigError, match="does not belong"):
        read_certbot("a.test", tmp_path, again=1)
    timer = threading.Timer(0.1, link, ["fullchain", 2])
    timer.start()
    assert read_certbot("a.test", tmp_path) == new
    timer.join()
    assert certbot_names(tmp_path / "nowhere") == []
