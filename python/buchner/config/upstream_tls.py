"""Terms of TLS towards upstreams: files as written to what is in them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import msgspec

from buchner.config import native
from buchner.config.tls import PolicyFiles
from buchner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buchner.config.places import Path, Report

_AUTHORITIES = ("ca", "crl")
_READ_HERE = ("certificate", "key", "password_file", *_AUTHORITIES)


@dataclass(frozen=True, slots=True)
class TermsFiles(PolicyFiles):
    """The files of some terms: at most one certificate, which is the gateway's own."""

    def read(self) -> tuple[dict[str, Any], list[Any]]:
        """Return what of terms of the plan is in files, and what is odd but works.

        Raises:
            ConfigError: one of them cannot be used; the problems name it.

        """
        plan, warnings = PolicyFiles.read(self)
        own = plan.pop("certificate")
        return {**plan, "certificate": own[0]} if own else plan, warnings


class UpstreamTerms:
    """The plan's `upstream_tls`: terms that several routes have stand there once.

    Args:
        report: takes the problems.

    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self.plan: list[dict[str, Any]] = []
        self.files: list[PolicyFiles] = []
        """The files of each."""
        self._known: dict[bytes, int] = {}

    def resolve(self, table: dict[str, Any], path: Path) -> int:
        """Read what terms name.

        Args:
            table: as written, with paths in full.
            path: its place.

        Returns:
            Their index in the plan.

        """
        identity = msgspec.json.encode(table, order="deterministic")
        if identity in self._known:
            return self._known[identity]
        plan = {name: value for name, value in table.items() if name not in _READ_HERE}
        files = self._files(table, path)
        try:
            read, warnings = files.read()
        except ConfigError as error:
            for problem in error.problems:
                message = f"{problem.file}: {problem.message}" if problem.file else problem.message
                self.report.error((*path, self._setting(problem.file, table)), message)
        else:
            plan |= read
            for warning in warnings:
                self.report.warn((*path, "certificate"), f"{warning.file}: {warning.message}")
        for name in _AUTHORITIES:
            if name in table and name in plan and "-----BEGIN " not in plan[name]:
                self.report.error((*path, name), f"{table[name]}: is not PEM: there is no line with -----BEGIN …-----")
        self._known[identity] = len(self.plan)
        self.plan.append(plan)
        self.files.append(files)
        return self._known[identity]

    def _files(self, table: dict[str, Any], path: Path) -> PolicyFiles:
        chain, password = table.get("certificate"), table.get("password_file")
        if chain is None and "key" in table:
            self.report.error((*path, "key"), "a key without its certificate is of no use: name it as `certificate`")
        certificates = () if chain is None else ((chain, FilePath(chain), FilePath(table.get("key", chain))),)
        authorities = tuple((name, FilePath(table[name])) for name in _AUTHORITIES if name in table)
        return TermsFiles(certificates, None if password is None else FilePath(password), (), authorities).stamped()

    def _setting(self, file: str | None, table: dict[str, Any]) -> str:
        """Return the setting that names a file, for the place of a problem."""
        return next((name for name in _READ_HERE if file is not None and table.get(name) == file), "certificate")


def system_roots(plan: dict[str, Any], report: Report) -> str | None:
    """Return the certificates of the system's CAs as PEM if some route needs them.

    Args:
        plan: the plan, but for them.
        report: takes the problems.

    """
    terms: list[dict[str, Any]] = plan.get("upstream_tls", [])
    used = {plan["settings"][index].get("upstream_tls") for server in plan["server"] for index in _encrypted(server)}
    if not any(index is None or (terms[index].get("verify", True) and not terms[index].get("ca")) for index in used):
        return None
    roots, errors = native.system_roots()
    if not roots:
        why = f" ({errors[0]})" if errors else ""
        report.error(
            (),
            f"upstreams are spoken to in TLS, and this system knows no authorities{why}: install the package "
            "ca-certificates, or name their certificates as `ca` in upstream_tls",
        )
    return "".join(ssl.DER_cert_to_PEM_cert(root) for root in roots)


def _encrypted(part: Any) -> Iterator[int]:
    """Yield the settings of each route, block or branch that passes requests on in TLS, or may do so."""
    if isinstance(part, list):
        for element in part:
            yield from _encrypted(element)
    elif isinstance(part, dict):
        content = part.get("content")
        proxy = content.get("proxy") if isinstance(content, dict) else None
        if proxy is not None and "settings" in part:
            url: str | None = proxy.get("url")
            if proxy.get("tls") or (url is not None and not url.lower().startswith("http://")):
                yield part["settings"]
        for value in part.values():
            if isinstance(value, dict | list):
                yield from _encrypted(value)
