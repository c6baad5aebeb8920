"""TLS policies: files as written to what is in them, which is all that the gateway gets to see of them."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec
from msgspec import UNSET

from buchner.config.values import convert
from buchner.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path as FilePath

    from buchner.config import _generated as gen
    from buchner.config.places import Path, Report

_CLIENTS = ("client_ca", "client_crl")
_READ_HERE = ("certificate", "key", "password_file", "ticket_keys", "preset", "acme", *_CLIENTS)
_CURVES = ["X25519MLKEM768", "X25519", "prime256v1", "secp384r1"]
_PRESETS: dict[str, dict[str, Any]] = {
    "modern": {"protocols": ["TLSv1.3"], "curves": _CURVES},
    "intermediate": {
        "protocols": ["TLSv1.2", "TLSv1.3"],
        "ciphers": [
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-RSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "ECDHE-RSA-CHACHA20-POLY1305",
        ],
        "curves": _CURVES,
    },
}
"""Mozilla's recommendations (https://wiki.mozilla.org/Security/Server_Side_TLS), of the suites that there are here."""
_TICKET_KEYS = (48, 80)
Stamp = tuple[int, int, int] | None
"""What tells a file from the one before: when it was written, its size, its inode. None: there is none."""


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """The files of a policy, to be read again when they have changed.

    Args:
        certificates: by certificate, its name as written, its file and that of its key.
        passwords: file with passwords of keys.
        ticket_keys: names as written and files of keys for tickets.
        clients: by setting, the files that say which certificates of clients are good.
        stamps: the files as they were just before they were read.
    """

    certificates: tuple[tuple[str, FilePath, FilePath], ...]
    passwords: FilePath | None
    ticket_keys: tuple[tuple[str, FilePath], ...]
    clients: tuple[tuple[str, FilePath], ...] = ()
    stamps: tuple[Stamp, ...] = ()

    def paths(self) -> list[FilePath]:
        """Return all the files, in the order of `stamps`."""
        found = [file for _, chain, key in self.certificates for file in (chain, key)]
        found += [file for _, file in (*self.ticket_keys, *self.clients)]
        return found if self.passwords is None else [*found, self.passwords]

    def names(self) -> list[str]:
        """Return what logs call them: the certificates, or else the other files."""
        return [name for name, _, _ in self.certificates] or [str(path) for path in self.paths()]

    def stamped(self) -> Self:
        """Return the same with the files as they are now."""
        return replace(self, stamps=tuple(stamp(path) for path in self.paths()))

    def read(self) -> tuple[dict[str, Any], list[Problem]]:
        """Return what of a policy of the plan is in files, and what is odd but works.

        Raises:
            ConfigError: one of them cannot be used; the problems name it.

        """
        from buchner.certificates.pem import load_pair, read_passwords  # noqa: PLC0415 - only where there is TLS

        passwords = [] if self.passwords is None else read_passwords(self.passwords)
        pairs = [(name, load_pair(chain, key, passwords)) for name, chain, key in self.certificates]
        plan: dict[str, Any] = {
            "certificate": [
                {"name": name, "chain": pair.chain_pem.decode(), "key": pair.key_pem.decode()} for name, pair in pairs
            ]
        }
        if self.ticket_keys:
            plan["ticket_keys"] = [read_ticket_key(name, file) for name, file in self.ticket_keys]
        plan |= {setting: read_pem(file) for setting, file in self.clients}
        return plan, [warning for _, pair in pairs for warning in pair.warnings]


def stamp(path: FilePath) -> Stamp:
    """Return what tells a file, or the one that a link leads to, from another."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_pem(file: FilePath) -> str:
    """Read certificates, or lists of revoked ones.

    Args:
        file: where they are.

    Returns:
        What is in it; the gateway finds out whether it is PEM.

    Raises:
        ConfigError: it cannot be read.

    """
    try:
        return file.read_text("ascii", "replace")
    except OSError as error:
        raise ConfigError([Problem(f"cannot read {file}: {error.strerror}")]) from error


def read_ticket_key(name: str, file: FilePath) -> str:
    """Read a key for tickets.

    Args:
        name: the file as written, for messages.
        file: where it is.

    Returns:
        The key, base64.

    Raises:
        ConfigError: it is none.

    """
    try:
        key = file.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(f"cannot read {name}: {error.strerror}")]) from error
    if len(key) not in _TICKET_KEYS:
        message = f"{name} has {len(key)} bytes: a key has 48 or 80 (openssl rand 80 > {name})"
        raise ConfigError([Problem(message)])
    return base64.b64encode(key).decode()


@dataclass(frozen=True, slots=True)
class Kept:
    """A certificate that is kept.

    Args:
        name: what it is called.
        names: what it is for.
        file: as in `PolicyFiles.certificates`; it need not be there yet.
    """

    name: str
    names: tuple[str, ...]
    file: tuple[str, FilePath, FilePath]


class Issuing(Protocol):
    """The document's `acme`, as policies need it; see `acme.Acme`."""

    def add(self, names: Sequence[str], path: Path) -> Kept | None:
        """Have a certificate kept; None if that cannot be, which is reported."""

    def read(self, kept: Kept, path: Path) -> dict[str, str]:
        """Return a certificate as the plan has it, or one that stands in for it."""


class Policies:
    """The plan's `tls`: a policy that several servers have stands there once.

    Args:
        base: directory that relative paths start from.
        acme: takes the names that certificates are to be issued for.
        report: takes the problems.

    """

    def __init__(self, base: FilePath, acme: Issuing, report: Report) -> None:
        self.base = base
        self.acme = acme
        self.report = report
        self.plan: list[dict[str, Any]] = []
        self.files: list[PolicyFiles] = []
        """The files of each."""
        self._known: dict[bytes, int] = {}

    def resolve(self, tls: gen.Tls, names: Sequence[str], path: Path) -> int:
        """Read what a policy names.

        Args:
            tls: as written.
            names: the names of its server.
            path: its place.

        Returns:
            Its index in the plan.

        """
        plan = {name: value for name, value in convert(tls, (), path, self.report).items() if name not in _READ_HERE}
        if tls.preset is not UNSET:
            plan = {**_PRESETS[tls.preset], **plan}
        files = self._files(tls, path)
        if tls.acme is True:
            kept = self.acme.add(names, path)
            files = replace(files, certificates=() if kept is None else (kept.file,)).stamped()
            plan["certificate"] = [] if kept is None else [self.acme.read(kept, path)]
        else:
            plan["certificate"] = self._certificates(files, tls, names, path)
        if files.ticket_keys:
            keys = [self._ticket_key(*key, (*path, "ticket_keys", i)) for i, key in enumerate(files.ticket_keys)]
            plan["ticket_keys"] = [key for key in keys if key]
        for setting, file in files.clients:
            try:
                plan[setting] = read_pem(file)
            except ConfigError as error:
                self._pass_on(error, (*path, setting))
        if tls.certificate is UNSET and tls.reject_handshake is not True and tls.acme is not True:
            words = "TLS needs a certificate: `certificate` and `key` name its files, or `acme = true` has one issued"
            self.report.error(path, words)
        elif tls.acme is True and (tls.certificate is not UNSET or tls.key is not UNSET):
            self.report.error((*path, "acme"), "a certificate is named and one is to be issued: only one goes")
        identity = msgspec.json.encode((plan, [str(file) for file in files.paths()]))
        if identity not in self._known:
            self._known[identity] = len(self.plan)
            self.plan.append(plan)
            self.files.append(files)
        return self._known[identity]

    def _files(self, tls: gen.Tls, path: Path) -> PolicyFiles:
        chains = _list(tls.certificate)
        keys = _list(tls.key) or chains
        if len(keys) != len(chains):
            self.report.error((*path, "key"), f"there are {len(chains)} certificates and {len(keys)} keys")
        return PolicyFiles(
            tuple((chain, self.base / chain, self.base / key) for chain, key in zip(chains, keys, strict=False)),
            None if tls.password_file is UNSET else self.base / tls.password_file,
            tuple((name, self.base / name) for name in _list(tls.ticket_keys)),
            tuple((name, self.base / file) for name in _CLIENTS for file in _list(getattr(tls, name))),
        ).stamped()

    def _certificates(self, files: PolicyFiles, tls: gen.Tls, names: Sequence[str], path: Path) -> list[dict[str, str]]:
        from buchner.certificates.pem import load_pair, read_passwords  # noqa: PLC0415 - only where there is TLS

        found = []
        passwords: list[bytes] = []
        if files.passwords is not None:
            try:
                passwords = read_passwords(files.passwords)
            except ConfigError as error:
                self._pass_on(error, (*path, "password_file"))
        exact = [name.lstrip(".") for name in names if name not in ("", "_") and not name.startswith("~")]
        for index, (name, chain, key) in enumerate(files.certificates):
            place = (*path, "certificate", index) if isinstance(tls.certificate, list) else (*path, "certificate")
            try:
                pair = load_pair(chain, key, passwords, exact)
            except ConfigError as error:
                self._pass_on(error, place)
                continue
            for warning in pair.warnings:
                self.report.warn(place, f"{warning.file}: {warning.message}" if warning.file else warning.message)
            found.append({"name": name, "chain": pair.chain_pem.decode(), "key": pair.key_pem.decode()})
        return found

    def _ticket_key(self, name: str, file: FilePath, place: Path) -> str:
        try:
            return read_ticket_key(name, file)
        except ConfigError as error:
            self._pass_on(error, place)
            return ""

    def _pass_on(self, error: ConfigError, place: Path) -> None:
        for problem in error.problems:
            self.report.error(place, f"{problem.file}: {problem.message}" if problem.file else problem.message)


def _list(value: Any) -> list[str]:
    if value is UNSET:
        return []
    return [value] if isinstance(value, str) else list(value)
