"""Installs a release of the OWASP Core Rule Set: fetched, its signature verified, unpacked, loaded, put in place."""

from __future__ import annotations

import io
import ipaddress
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from buchner.errors import BuchnerError
from buchner.waf.crs import Ruleset, Tuning, sources
from buchner.waf.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

FINGERPRINT = "36006F0E0BA167832158821138EEACA1AB8A6E72"
"""The key that signs releases, security@coreruleset.org, as the project's INSTALL.md names it."""
KEY_URL = "https://coreruleset.org/security.asc"
_ARCHIVE = 32 << 20
_UNPACKED = 64 << 20
_FILES = 10_000
_KEPT = (
    "crs-setup.conf",
    "REQUEST-900-EXCLUSION-RULES-BEFORE-CRS.conf",
    "RESPONSE-999-EXCLUSION-RULES-AFTER-CRS.conf",
)
"""What the user wrote, which a newer release must not take away."""


def fetch(source: str) -> bytes:
    """Read an archive from a path or a URL.

    Raises:
        BuchnerError: It cannot be read, is too large, or the URL is not HTTPS.
    """
    if "://" not in source:
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise BuchnerError(f"cannot read {source}: {error.strerror}") from error
    else:
        parts = urlsplit(source)
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
            raise BuchnerError(f"{source}: rules are fetched by https:// alone")
        request = urllib.request.Request(source, headers={"User-Agent": "buchner"})  # noqa: S310 - checked above
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - as above
                data = response.read(_ARCHIVE + 1)
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise BuchnerError(f"cannot fetch {source}: {getattr(error, 'reason', None) or error}") from error
    if len(data) > _ARCHIVE:
        raise BuchnerError(f"{source} is larger than {_ARCHIVE >> 20} MiB: that is no release of the Core Rule Set")
    return data


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def verify(archive: bytes, signature: bytes, *, key: Path | None = None, fingerprint: str = FINGERPRINT) -> None:
    """Verify a detached OpenPGP signature by the gpg program.

    Args:
        archive: What was signed.
        signature: The signature.
        key: A file with the public key. Default: the user's keyring has it.
        fingerprint: The key, or the one whose subkey it is, that has to have signed it.

    Raises:
        BuchnerError: There is no gpg, no key, or the signature is not a good one of that key.
    """
    gpg = shutil.which("gpg")
    if gpg is None:
        raise BuchnerError(
            "the signature cannot be verified: there is no gpg; install it (Debian: apt-get install gpg)"
        )
    wanted = fingerprint.replace(" ", "").upper()
    with tempfile.TemporaryDirectory(prefix="buchner-") as directory:
        home = Path(directory)
        (home / "archive").write_bytes(archive)
        (home / "signature").write_bytes(signature)
        command = [gpg, "--batch", "--no-tty", "--no-auto-key-retrieve"]
        if key is not None:
            command += ["--homedir", directory, "--no-autostart"]
            imported = subprocess.run(
                [*command, "--import", str(key)], capture_output=True, text=True, errors="replace", check=False
            )
            if imported.returncode:
                raise BuchnerError(f"{key} is no public key that gpg can read: {_last(imported.stderr)}")
        command += ["--status-fd", "1", "--verify", str(home / "signature"), str(home / "archive")]
        run = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    status = [line.split()[1:] for line in run.stdout.splitlines() if line.startswith("[GNUPG:] ")]
    said = {words[0] for words in status if words}
    if "NO_PUBKEY" in said:
        raise BuchnerError(
            f"the key that signed the release is not there: get it with `gpg --fetch-keys {KEY_URL}`, "
            f"or name a file with it (--key); its fingerprint has to be {wanted}"
        )
    signers = [words for words in status if words and words[0] == "VALIDSIG"]
    # The last word is the primary key's fingerprint, the first that of the key that signed.
    good = [words for words in signers if wanted in (words[1], words[-1])]
    if run.returncode or "GOODSIG" not in said or not signers:
        raise BuchnerError(f"the signature is not good: {_last(run.stderr)}; nothing was installed")
    if len(good) != len(signers):
        other = next(words[-1] for words in signers if words not in good)
        raise BuchnerError(f"the release was signed by {other}, not by {wanted}; nothing was installed")


def _last(text: str) -> str:
    lines = [line.removeprefix("gpg: ") for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "signature" in line.lower()), lines[-1] if lines else "gpg failed")


def unpack(archive: bytes, target: Path) -> None:
    """Unpack the rules, their data and the example of their settings.

    Raises:
        BuchnerError: It is no archive, too large, has a path that leads outside, or no rules.
    """
    total = count = 0
    for name, data in _members(archive):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise BuchnerError(f"the archive has a path that leads outside: {name!r}; nothing was installed")
        inner = PurePosixPath(*path.parts[1:])
        total, count = total + len(data), count + 1
        if total > _UNPACKED or count > _FILES:
            raise BuchnerError("the archive unpacks to more than a release of the Core Rule Set has")
        if _wanted(inner):
            place = target / inner
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
    if Ruleset.in_directory(target) is None:
        raise BuchnerError("the archive has no rules/REQUEST-9….conf: it is no release of the Core Rule Set")


def _wanted(path: PurePosixPath) -> bool:
    if len(path.parts) == 1:
        return path.name in {"crs-setup.conf.example", "LICENSE", "CHANGES.md"}
    kinds = (".conf", ".data", ".conf.example")
    return path.parts[0] in {"rules", "plugins"} and len(path.parts) == 2 and path.name.endswith(kinds)  # noqa: PLR2004


def _members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """The regular files of an archive, each at most as large as all may be."""
    file = io.BytesIO(archive)
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as opened:
                for info in opened.infolist():
                    if not info.is_dir():
                        with opened.open(info) as member:
                            yield info.filename, member.read(_UNPACKED + 1)
            return
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:*") as opened_tar:
            for entry in opened_tar:
                stream = opened_tar.extractfile(entry) if entry.isfile() else None
                if stream is not None:
                    yield entry.name, stream.read(_UNPACKED + 1)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, RuntimeError) as error:
        raise BuchnerError(f"the archive cannot be unpacked: {error}") from error


def install(archive: bytes, target: Path) -> int:
    """Put a verified release in place of the one that is there, if its rules load.

    Returns:
        The number of rules.

    Raises:
        BuchnerError: It cannot be unpacked, written, or loaded; what was there stays.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".crs-", dir=target.parent) as directory:
            fresh = Path(directory) / "crs"
            fresh.mkdir(mode=0o755)
            unpack(archive, fresh)
            for name in _KEPT:
                for own in (target / name, target / "rules" / name):
                    if own.is_file():
                        shutil.copy2(own, fresh / own.relative_to(target))
            ruleset = Ruleset.in_directory(fresh)
            assert ruleset is not None
            count = len(Engine.from_sources(sources(ruleset, Tuning())))
            previous = Path(directory) / "previous"
            if target.exists():
                target.rename(previous)
            try:
                fresh.rename(target)
            except OSError:
                if previous.exists():
                    previous.rename(target)
                raise
    except OSError as error:
        raise BuchnerError(f"cannot write {target}: {error.strerror}") from error
    return count
