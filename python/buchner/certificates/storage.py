"""The directory certificates are kept in; safe for several gateways on one disk.

::

    live/NAME -> ../archive/NAME/N     fullchain.pem and privkey.pem, as certbot lays them out
    archive/NAME/N/                    the versions; the last three stay
    state/NAME.json                    what the keeper remembers
    wishes/NAME                        "renew it now", left by `buchner cert renew`
    accounts/HOST-HASH/                account.json and key.pem of an authority
    locks/                             flock(2) files; their content means nothing

A version is written whole and then put in force by renaming a symbolic link, so that certificate and key always
belong together. Who reads opens the directory first and both files from it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from buchner.certificates.pem import Pair, load_pair, parse_pair
from buchner.certificates.state import State
from buchner.errors import BuchnerError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

ENVIRONMENT = "BUCHNER_CERTIFICATES"
CERTBOT = Path("/etc/letsencrypt")
_KEPT = 3
_AGAIN = 5
_FILE = re.compile(r"[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?")


class Account(msgspec.Struct):
    """An account with an authority.

    Args:
        url: Its URL, which requests name as `kid`.
        key: The key, PEM (PKCS #8).
        email: The contact it was made with.
    """

    url: str
    key: str
    email: str = ""

    def __repr__(self) -> str:
        """Leave out the key."""
        return f"Account({self.url!r})"


def default_directory() -> Path:
    """Where certificates are kept: they outlive a reboot, other than sockets and pid files.

    $BUCHNER_CERTIFICATES, else `certificates` in systemd's $STATE_DIRECTORY, else /var/lib/buchner/certificates for
    root, else buchner/certificates in $XDG_STATE_HOME (~/.local/state).
    """
    if configured := os.environ.get(ENVIRONMENT):
        return Path(configured)
    if systemd := os.environ.get("STATE_DIRECTORY"):
        return Path(systemd.split(":")[0]) / "certificates"
    if os.geteuid() == 0:
        return Path("/var/lib/buchner/certificates")
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(home).expanduser() / "buchner" / "certificates"


def file_name(name: str) -> str:
    """Return the name of a certificate as a file has it: `_.example.com` for a wildcard.

    Raises:
        ConfigError: It cannot be one.
    """
    text = name.lower().replace("*", "_").replace(":", "_")
    if not _FILE.fullmatch(text):
        raise ConfigError(f'"{name}" cannot be the name of a certificate')
    return text


class Storage:
    """A directory with certificates, made if need be.

    Args:
        root: The directory; None: `default_directory`.

    Raises:
        BuchnerError: It cannot be made, or others may write to it.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_directory()
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.root.stat()
        except OSError as error:
            raise BuchnerError(
                f"the directory of certificates, {self.root}, cannot be made: {error.strerror}; "
                f"set {ENVIRONMENT} to another one"
            ) from error
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise BuchnerError(
                f"the directory of certificates, {self.root}, has to belong to this user, and no "
                f"other may write to it: chown and chmod 700 it, or set {ENVIRONMENT} to another one"
            )

    # Certificates

    def names(self) -> list[str]:
        """The names of files of certificates that are there or remembered, in order."""
        live = {path.name for path in self._list("live")}
        return sorted(live | {path.stem for path in self._list("state") if path.suffix == ".json"})

    def version(self, name: str) -> str:
        """Which version of a certificate is in force; an empty text if there is none."""
        try:
            return os.readlink(self.root / "live" / file_name(name))
        except OSError:
            return ""

    def read(self, name: str) -> Pair | None:
        """Read a certificate and its key; None if there is none.

        Raises:
            ConfigError: It cannot be used.
        """
        live = self.root / "live" / file_name(name)
        files = [live / "fullchain.pem", live / "privkey.pem"]
        for _ in range(_AGAIN):
            try:
                texts = self._read(live)
            except FileNotFoundError:
                if not live.is_symlink():
                    return None  # else it was replaced several times meanwhile
            except OSError as error:
                raise ConfigError(f"{live} cannot be read: {error.strerror}") from error
            else:
                return parse_pair(texts[0], texts[1], cert_file=str(files[0]), key_file=str(files[1]))
        raise ConfigError(f"{live} has no fullchain.pem or no privkey.pem")

    @staticmethod
    def _read(live: Path) -> list[bytes]:
        directory = os.open(live, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return [_read_at(directory, name) for name in ("fullchain.pem", "privkey.pem")]
        finally:
            os.close(directory)

    def write(self, name: str, pair: Pair) -> None:
        """Put a certificate in force, in one step.

        Raises:
            BuchnerError: The disk refuses it; the one in force stays.
        """
        try:
            self._write(file_name(name), pair)
        except OSError as error:
            raise BuchnerError(f"the certificate of {name} cannot be kept in {self.root}: {error.strerror}") from error

    def _write(self, name: str, pair: Pair) -> None:
        archive = self.root / "archive" / name
        self._make(archive)
        number = 1 + max((int(path.name) for path in archive.iterdir() if path.name.isdigit()), default=0)
        with tempfile.TemporaryDirectory(dir=archive, prefix="new", ignore_cleanup_errors=True) as directory:
            version = Path(directory)
            _put(version / "fullchain.pem", pair.chain_pem, 0o644)
            _put(version / "privkey.pem", pair.key_pem, 0o600)
            _sync(version)
            target = archive / str(number)
            version.rename(target)
        _sync(archive)
        live = self.root / "live"
        self._make(live)
        link = live / f".{name}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(Path("..") / "archive" / name / str(number))
        link.rename(live / name)
        _sync(live)
        for old in sorted((int(path.name) for path in archive.iterdir() if path.name.isdigit()), reverse=True)[_KEPT:]:
            _remove(archive / str(old))

    def forget(self, name: str) -> None:
        """Take a certificate out of force and forget its state; its versions stay in `archive`."""
        for path in (self.root / "live" / file_name(name), self._state_file(name)):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    # What is remembered

    def _state_file(self, name: str) -> Path:
        return self.root / "state" / f"{file_name(name)}.json"

    def state(self, name: str) -> State:
        """What is remembered of a certificate; what cannot be read is as if nothing were."""
        try:
            return msgspec.json.decode(self._state_file(name).read_bytes(), type=State)
        except (OSError, msgspec.DecodeError):
            return State()

    def save_state(self, name: str, state: State) -> None:
        """Remember the state of a certificate.

        Raises:
            BuchnerError: The disk refuses it.
        """
        self._save(self._state_file(name), msgspec.json.format(msgspec.json.encode(state)))

    def wish_renewal(self, name: str) -> None:
        """Ask whoever keeps this directory to renew a certificate now."""
        self._save(self.root / "wishes" / file_name(name), b"")

    def take_wishes(self) -> set[str]:
        """The names of files of certificates that are to be renewed now; each is told once."""
        found = set()
        for path in self._list("wishes"):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                found.add(path.name)
        return found

    # Accounts

    def _account_directory(self, authority: str) -> Path:
        host = re.sub(r"[^a-z0-9.]", "_", (urlsplit(authority).hostname or "").lower())
        return self.root / "accounts" / f"{host}-{hashlib.sha256(authority.encode()).hexdigest()[:12]}"

    def account(self, authority: str) -> Account | None:
        """The account with an authority, by the URL of its directory; None if there is none."""
        directory = self._account_directory(authority)
        try:
            told = msgspec.json.decode((directory / "account.json").read_bytes(), type=dict[str, str])
            return Account(told["url"], (directory / "key.pem").read_text(), told.get("email", ""))
        except (OSError, KeyError, msgspec.DecodeError):
            return None

    def save_account(self, authority: str, account: Account) -> None:
        """Keep an account.

        Raises:
            BuchnerError: The disk refuses it.
        """
        directory = self._account_directory(authority)
        told = {"authority": authority, "url": account.url, "email": account.email}
        self._save(directory / "key.pem", account.key.encode())
        self._save(directory / "account.json", msgspec.json.format(msgspec.json.encode(told)))

    def forget_account(self, authority: str) -> None:
        """Forget an account that its authority does not know any more; the key stays beside it for a month or so."""
        directory = self._account_directory(authority)
        with contextlib.suppress(FileNotFoundError):
            (directory / "account.json").rename(directory / f"account-{int(time.time())}.json.old")

    # Locks

    @contextlib.contextmanager
    def lock(self, name: str, *, wait: bool = False, shared: bool = False) -> Iterator[bool]:
        """Hold a lock that other processes with this directory respect; it ends with the process.

        Args:
            name: Of the lock.
            wait: Wait for it; else the value says whether it was had.
            shared: Others may hold it too, if they share it.
        """
        path = self.root / "locks" / re.sub(r"[^a-z0-9._-]", "_", name.lower())
        self._make(path.parent)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
                fcntl.flock(fd, kind | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(fd)

    @property
    def is_kept(self) -> bool:
        """Whether some process keeps the certificates of this directory."""
        with self.lock("keeper") as alone:
            return not alone

    # Files

    def _make(self, directory: Path) -> None:
        """Make a directory below the root, and those above it: `mkdir -p` would open the latter to others."""
        if directory != self.root and not directory.is_dir():
            self._make(directory.parent)
            directory.mkdir(mode=0o700, exist_ok=True)

    def _list(self, directory: str) -> list[Path]:
        try:
            return [path for path in (self.root / directory).iterdir() if not path.name.startswith(".")]
        except FileNotFoundError:
            return []

    def _save(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            self._make(path.parent)
            try:
                _put(temporary, data, 0o600)
                temporary.rename(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise BuchnerError(f"{path} cannot be written: {error.strerror}") from error


def certbot_names(root: Path = CERTBOT) -> list[str]:
    """The certificates that certbot keeps, in order; none if there is no certbot."""
    try:
        return sorted(path.name for path in (root / "live").iterdir() if (path / "fullchain.pem").exists())
    except OSError:
        return []


def read_certbot(name: str, root: Path = CERTBOT, *, again: int = 20) -> Pair:
    """Read a certificate of certbot's as it lies there.

    Args:
        name: Its directory in `live`.
        root: certbot's directory.
        again: certbot replaces its links one by one: a key that does not belong is read again so often, 50 ms apart.

    Raises:
        ConfigError: It cannot be used.
    """
    live = root / "live" / name
    while True:
        try:
            return load_pair(live / "fullchain.pem", live / "privkey.pem")
        except ConfigError:
            again -= 1
            if again < 0 or not live.exists():
                raise
            time.sleep(0.05)


def _read_at(directory: int, name: str) -> bytes:
    with open(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory), "rb") as file:
        return file.read()


def _put(path: Path, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(fd, "wb") as file:
        os.fchmod(fd, mode)
        file.write(data)
        file.flush()
        os.fsync(fd)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(version: Path) -> None:
    with contextlib.suppress(OSError):
        for file in version.iterdir():
            file.unlink()
        version.rmdir()
