"""Inherited settings: merged level by level, equal groups kept once.

A setting that is written at a level replaces the whole value of the level above, tables such as `set_headers` included,
as nginx does with `proxy_set_header` and `add_header`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.config import addresses
from buchner.config.table import written
from buchner.config.values import convert

if TYPE_CHECKING:
    from buchner.config.content import Contents
    from buchner.config.limits import Limits
    from buchner.config.places import Path, Report
    from buchner.config.upstream_tls import UpstreamTerms

    Level = gen.Document | gen.Server | gen.Route | gen.If | gen.LimitExcept

_STATUS = re.compile(r"[3-5]\d\d")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REPLACES = {
    "secure_link_secret": ("secure_link", "secure_link_md5"),
    "secure_link": ("secure_link_secret",),
    "secure_link_md5": ("secure_link_secret",),
}
"""Settings that take the place of others of the level above, with which they cannot be."""
_LOG = ("path", "format", "escape", "if_", "buffer", "flush", "gzip")
_PLAIN = tuple(name for name in gen.SETTINGS if name not in ("access_log", "error_log", "error_page", "types", "root"))


class SettingsTable:
    """The plan's `settings` and `access_log`.

    Args:
        contents: checks variables and makes paths absolute.
        terms: reads the terms of TLS towards upstreams.
        limits: knows the zones.
        report: takes the problems.
    """

    def __init__(self, contents: Contents, terms: UpstreamTerms, limits: Limits, report: Report) -> None:
        self.contents = contents
        self.terms = terms
        self.limits = limits
        self.report = report
        self.plan: list[dict[str, Any]] = []
        self.logs: list[dict[str, Any]] = []
        self._known: dict[bytes, int] = {}
        self._known_logs: dict[bytes, int] = {}
        self.types: list[dict[str, str]] = []
        self._known_types: dict[bytes, int] = {}

    def root(self, document: gen.Document) -> int:
        """Return the index of the settings of the root."""
        return self._intern(self._own(document, ()))

    def under(self, parent: int, level: gen.Server | gen.Route | gen.If | gen.LimitExcept, path: Path) -> int:
        """Return the index of the settings of a level: those of `parent` and what is written in `level`."""
        own = self._own(level, path)
        if not own:
            return parent
        above = self.plan[parent]
        replaced = {other for name, others in _REPLACES.items() if name in own for other in others}
        if replaced:
            above = {name: value for name, value in above.items() if name not in replaced}
        return self._intern({**above, **own})

    def _intern(self, settings: dict[str, Any]) -> int:
        key = msgspec.json.encode(settings, order="deterministic")
        index = self._known.setdefault(key, len(self.plan))
        if index == len(self.plan):
            self.plan.append(settings)
        return index

    def _own(self, level: Level, path: Path) -> dict[str, Any]:
        own = convert(level, _PLAIN, path, self.report)
        if not own and not written(level, ("access_log", "error_log", "error_page", "types", "root")):
            return own
        for name, value in own.items():
            shape = gen.FORMATS.get(name)
            if shape is not None:
                own[name] = self._checked(value, shape, (*path, name))
        self._logs_and_pages(level, path, own)
        self._headers(own, path)
        for index, pair in enumerate(own.get("sub_filter", ())):
            if not pair["text"]:
                self.report.error((*path, "sub_filter", index), "an empty text would be found everywhere")
        for index, server in enumerate(own.get("resolver", ())):
            try:
                addresses.split(server)
            except ValueError as error:
                self.report.error((*path, "resolver", index), str(error))
        if "upstream_tls" in own:
            own["upstream_tls"] = self.terms.resolve(own["upstream_tls"], (*path, "upstream_tls"))
        self.limits.check(own, path)
        if "mirror" in own:
            own["mirror"] = [uri for uri in own["mirror"] if uri != "off"]
        return own

    def _headers(self, own: dict[str, Any], path: Path) -> None:
        """Check the headers that are set or added; those added become a list."""
        for header, values in own.get("set_headers", {}).items():
            for value in [values] if isinstance(values, str) else values:
                self._header(header, value, (*path, "set_headers", header))
        for name in ("add_headers", "add_trailers"):
            if name in own:
                own[name] = self._added(own[name], (*path, name))

    def _logs_and_pages(self, level: Level, path: Path, own: dict[str, Any]) -> None:
        """Put the settings of a level that the plan has in another form into `own`."""
        if level.access_log is not UNSET:
            own["access_log"] = self._logs(level.access_log, (*path, "access_log"))
        if level.error_log is not UNSET:
            own["error_log"] = self._error_logs(level.error_log)
        if level.error_page is not UNSET:
            own["error_page"] = self._pages(level.error_page, (*path, "error_page"))
        if level.types is not UNSET:
            own["types"] = _interned(level.types, self.types, self._known_types)
        if level.root is not UNSET:
            own["root"] = self._root(level.root, (*path, "root"))

    def _checked(self, value: Any, shape: dict[str, Any], path: Path) -> Any:
        """Check the texts, patterns and paths within a value, and return it with paths in full.

        Args:
            value: the value as written.
            shape: what is in it: `text`, `items`, `values` and `fields`, as `gen.FORMATS` has them.
            path: its path.

        """
        if isinstance(value, str):
            return self._text(value, shape["text"], path) if "text" in shape else value
        if isinstance(value, list):
            inner = shape.get("items", {})
            return [self._checked(item, inner, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, dict):
            fields, other = shape.get("fields", {}), shape.get("values", {})
            return {name: self._checked(item, fields.get(name, other), (*path, name)) for name, item in value.items()}
        return value

    def _text(self, text: str, kind: str, path: Path) -> str:
        has = gen.KINDS[kind]
        if "regex" in has:
            self.contents.pattern(text, path)
        elif "variables" in has:
            self.contents.text(text, path)
        if "path" in has and not ("variables" in has and text.startswith(("/", "$"))):
            return self.contents.absolute(text)
        return text

    def _header(self, header: str, value: str, place: Path) -> None:
        if not _HEADER.fullmatch(header):
            self.report.error(place, f'"{header}" is not the name of a header', key=True)
        if any(ord(character) < 0x20 and character != "\t" for character in value):  # noqa: PLR2004
            self.report.error(place, f"the value of {header} has control characters")

    def _added(self, headers: dict[str, str] | list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
        if isinstance(headers, dict):
            for header, value in headers.items():
                self._header(header, value, (*path, header))
            return [{"name": header, "value": value} for header, value in headers.items()]
        for index, added in enumerate(headers):
            self._header(added["name"], added["value"], (*path, index, "value"))
        return headers

    def _pages(self, pages: dict[str, str | gen.ErrorPage], path: Path) -> dict[str, dict[str, Any]]:
        plan: dict[str, dict[str, Any]] = {}
        for key, page in pages.items():
            target = page if isinstance(page, str) else page.to
            if not target.startswith(("/", "@", "http://", "https://", "$")):
                self.report.slip(
                    (*path, key),
                    f'"{target}" is no page: a URI such as "/404.html", an "@route" or a URL is; clients would be '
                    "redirected to it",
                )
            self.contents.text(target, (*path, key))
            for status in key.split() or [key]:
                if not _STATUS.fullmatch(status):
                    self.report.error((*path, key), f'"{status}" is not a status from 300 to 599', key=True)
                plan[status] = {"to": page} if isinstance(page, str) else msgspec.to_builtins(page)
        return plan

    def _logs(self, value: str | bool | gen.AccessLog | list[str | gen.AccessLog], path: Path) -> list[int]:
        if value is False or value in ("", "off"):
            return []
        if value is True:
            self.report.error(path, 'true is no log: a file is, or "-" for standard output')
            return []
        if isinstance(value, list):
            return [self._log(log, (*path, index)) for index, log in enumerate(value)]
        return [self._log(value, path)]

    def _log(self, log: str | gen.AccessLog, path: Path) -> int:
        if isinstance(log, str):
            log = gen.AccessLog(path=log)
        plan: dict[str, Any] = convert(log, _LOG, path, self.report)
        if "$" in log.path and not log.path.startswith("syslog:"):
            self.contents.text(log.path, (*path, "path"))
            plan["path"] = log.path if log.path.startswith("/") else self.contents.joined(log.path)
        elif log.path != "-" and not log.path.startswith("syslog:"):
            plan["path"] = self.contents.absolute(log.path)
        text = plan.get("format", "combined")
        if text not in ("combined", "json"):
            if re.fullmatch(r"\w+", text):
                self.report.error(path, f'the format "{text}" is not "combined", "json" or a text with variables')
            self.contents.text(text, (*path, "format"))
        if "if_" in plan:
            plan["if"] = plan.pop("if_")
            self.contents.text(plan["if"], (*path, "if"))
        return _interned(plan, self.logs, self._known_logs)

    def _error_logs(self, value: str | gen.ErrorLog | list[str | gen.ErrorLog]) -> list[dict[str, Any]]:
        logs = []
        for log in value if isinstance(value, list) else [value]:
            plan = {"path": log} if isinstance(log, str) else written(log)
            if plan["path"] != "-" and not plan["path"].startswith("syslog:"):
                plan["path"] = self.contents.absolute(plan["path"])
            logs.append(plan)
        return logs

    def _root(self, root: str | gen.Root, path: Path) -> dict[str, Any]:
        plan = {"path": root} if isinstance(root, str) else written(root)
        self.contents.text(plan["path"], path)
        plan["path"] = self.contents.absolute(plan["path"]) + ("/" if plan["path"].endswith("/") else "")
        return plan


def _interned(value: dict[str, Any], known: list[dict[str, Any]], indices: dict[bytes, int]) -> int:
    """Return the index of a value in a list, where it is put unless it is there."""
    key = msgspec.json.encode(value, order="deterministic")
    if key not in indices:
        indices[key] = len(known)
        known.append(value)
    return indices[key]
