"""TLS policies: files as written to what is in them, which is all that the gateway gets to see of them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from buchner.config.values import convert
from buchner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path as FilePath

    from buchner.config import _generated as gen
    from buchner.config.places import Path, Report

_READ_HERE = ("certificate", "key", "password_file", "ticket_keys")
_TICKET_KEYS = (48, 80)


class Policies:
    """The plan's `tls`: a policy that several servers have stands there once.

    Args:
        base: directory that relative paths start from.
        report: takes the problems.

    """

    def __init__(self, base: FilePath, report: Report) -> None:
        self.base = base
        self.report = report
        self.plan: list[dict[str, Any]] = []
        self.files: set[FilePath] = set()
        """The files that were read: the configuration is another one when they change."""

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
        plan["certificate"] = self._certificates(tls, names, path)
        if tls.ticket_keys is not UNSET:
            keys = [self._ticket_key(name, (*path, "ticket_keys", i)) for i, name in enumerate(tls.ticket_keys)]
            plan["ticket_keys"] = [key for key in keys if key]
        if not plan["certificate"] and tls.reject_handshake is not True:
            self.report.error(path, "TLS needs a certificate: `certificate` and `key` name its files")
        if plan not in self.plan:
            self.plan.append(plan)
        return self.plan.index(plan)

    def _certificates(self, tls: gen.Tls, names: Sequence[str], path: Path) -> list[dict[str, str]]:
        chains = _list(tls.certificate)
        keys = _list(tls.key) or chains
        if len(keys) != len(chains):
            self.report.error((*path, "key"), f"there are {len(chains)} certificates and {len(keys)} keys")
            return []
        from buchner.certificates.pem import load_pair, read_passwords  # noqa: PLC0415 - only where there is TLS

        found = []
        passwords: list[bytes] = []
        if tls.password_file is not UNSET:
            try:
                passwords = read_passwords(self._file(tls.password_file))
            except ConfigError as error:
                self._pass_on(error, (*path, "password_file"))
        for index, (chain, key) in enumerate(zip(chains, keys, strict=True)):
            place = (*path, "certificate", index) if isinstance(tls.certificate, list) else (*path, "certificate")
            exact = [name.lstrip(".") for name in names if name not in ("", "_") and not name.startswith("~")]
            try:
                pair = load_pair(self._file(chain), self._file(key), passwords, exact)
            except ConfigError as error:
                self._pass_on(error, place)
                continue
            for warning in pair.warnings:
                self.report.warn(place, f"{warning.file}: {warning.message}" if warning.file else warning.message)
            found.append({"name": chain, "chain": pair.chain_pem.decode(), "key": pair.key_pem.decode()})
        return found

    def _ticket_key(self, name: str, place: Path) -> str:
        try:
            key = self._file(name).read_bytes()
        except OSError as error:
            self.report.error(place, f"cannot read {name}: {error.strerror}")
            return ""
        if len(key) not in _TICKET_KEYS:
            self.report.error(place, f"{name} has {len(key)} bytes: a key has 48 or 80 (openssl rand 80 > {name})")
        return base64.b64encode(key).decode()

    def _file(self, name: str) -> FilePath:
        file = self.base / name
        self.files.add(file)
        return file

    def _pass_on(self, error: ConfigError, place: Path) -> None:
        for problem in error.problems:
            self.report.error(place, f"{problem.file}: {problem.message}" if problem.file else problem.message)


def _list(value: Any) -> list[str]:
    if value is UNSET:
        return []
    return [value] if isinstance(value, str) else list(value)
