"""Certificates that an authority issues for servers: which ones, and what is served until there is one."""

from __future__ import annotations

import os
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from buchner.config.model import AcmeSettings, KeptCertificates
from buchner.config.tls import Kept
from buchner.config.values import convert
from buchner.errors import BuchnerError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buchner.config import _generated as gen
    from buchner.config.places import Path, Report


class Acme:
    """The document's `acme`, and the certificates that policies ask for.

    Args:
        table: as written.
        base: directory that relative paths start from.
        report: takes the problems.

    """

    def __init__(self, table: gen.Acme | UnsetType, base: FilePath, report: Report) -> None:
        self._report = report
        values = {} if table is UNSET else convert(table, AcmeSettings.__struct_fields__, ("acme",), report)
        for name in ("directory", "roots"):
            if name in values:
                values[name] = os.path.normpath(base / values[name])
        self._settings = AcmeSettings(**values)
        self._names: dict[str, tuple[str, ...]] = {}
        self._directory: FilePath | None = None
        self.stand_ins: dict[str, dict[str, str]] = {}
        """By name of a certificate, the self-signed one that is served until it is issued."""

    @property
    def kept(self) -> KeptCertificates | None:
        """All that is to be kept; None: nothing."""
        if self._directory is None or not self._names:
            return None
        return KeptCertificates(str(self._directory), self._settings, tuple(self._names.values()))

    def add(self, names: Sequence[str], path: Path) -> Kept | None:
        """Have a certificate kept; None if that cannot be, which is reported.

        Args:
            names: the names of its server.
            path: the place of the policy.

        """
        from buchner.certificates.settings import ALPN, CHALLENGES, Issuer, Wanted  # noqa: PLC0415 - only where there is TLS
        from buchner.certificates.storage import Storage, default_directory, file_name  # noqa: PLC0415

        told = self._settings
        issuer = Issuer(url=told.authority, eab_kid=told.eab_kid or "", eab_key=told.eab_key or "")
        try:
            wanted = Wanted(
                names=_wanted(names), issuers=(issuer,), challenges=tuple(told.challenges) or CHALLENGES
            ).resolved()
            root = FilePath(told.directory) if told.directory else default_directory()
            if root.exists():  # the keeper makes it: a check of the configuration leaves nothing behind
                Storage(root)
        except ConfigError as error:
            for problem in error.problems:
                self._report.error((*path, "acme"), problem.message)
            return None
        except BuchnerError as error:
            self._report.error((*path, "acme"), str(error))
            return None
        if ALPN in told.challenges:
            self._report.error(("acme", "challenges"), f'"{ALPN}" is not met by the gateway: http-01 and dns-01 are')
        if any(name.startswith("*.") for name in wanted.names) and told.dns is None:
            self._report.error((*path, "acme"), f"{wanted.name}: wildcards take dns-01: set `dns` in [acme]")
        self._directory = root
        others = self._names.setdefault(wanted.name, wanted.names)
        if others != wanted.names:
            message = f"the certificate of {wanted.name} is for {', '.join(others)} already: give both the same names"
            self._report.error((*path, "acme"), message)
        live = root / "live" / file_name(wanted.name)
        files = live / "fullchain.pem", live / "privkey.pem"
        return Kept(wanted.name, wanted.names, (str(files[0]), *files))

    def read(self, kept: Kept, path: Path) -> dict[str, str]:
        """Return a certificate as the plan has it, or one that stands in for it.

        Args:
            kept: which one.
            path: the place of the policy.

        """
        from buchner.certificates.making import self_signed  # noqa: PLC0415 - only where there is TLS
        from buchner.certificates.storage import Storage  # noqa: PLC0415

        pair = None
        try:
            if kept.file[1].exists():
                pair = Storage(self._directory).read(kept.name)
        except ConfigError as error:
            self._report.warn((*path, "acme"), f"{error}; a self-signed certificate is served until it is renewed")
        if pair is not None:
            return {"name": kept.file[0], "chain": pair.chain_pem.decode(), "key": pair.key_pem.decode()}
        if kept.name not in self.stand_ins:
            made = self_signed(kept.names)
            chain, key = made.chain_pem.decode(), made.key_pem.decode()
            self.stand_ins[kept.name] = {"name": f"{kept.name}, self-signed", "chain": chain, "key": key}
        return self.stand_ins[kept.name]


def _wanted(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a server as certificates have them: `.example.com` is a domain and all below it."""
    found: list[str] = []
    for name in names:
        if name in ("", "_") or name.startswith("~"):
            continue
        found += [name[1:], f"*{name}"] if name.startswith(".") else [name.strip("[]")]
    if not found:
        raise ConfigError('no certificate can be issued for a server without names: write names = ["example.com"]')
    return tuple(found)
