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
    from buchner.config.places import Path, Report

    Level = gen.Document | gen.Server | gen.Route | gen.If | gen.LimitExcept

_STATUS = re.compile(r"[3-5]\d\d")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TEXTS = (
    "auth_basic",
    "auth_basic_user_file",
    "secure_link",
    "secure_link_md5",
    "expires",
    "charset",
    "source_charset",
    "limit_rate",
    "limit_rate_after",
)
"""Settings that are texts with variables."""
_REPLACES = {
    "secure_link_secret": ("secure_link", "secure_link_md5"),
    "secure_link": ("secure_link_secret",),
    "secure_link_md5": ("secure_link_secret",),
}
"""Settings that take the place of others of the level above, with which they cannot be."""
_PROXY_TEXTS = ("proxy_method", "proxy_set_body", "proxy_bind", "proxy_limit_rate")
_LOG = ("path", "format", "escape", "if_", "buffer", "flush", "gzip")
_PLAIN = tuple(name for name in gen.SETTINGS if name not in ("access_log", "error_log", "error_page", "types", "root"))


class SettingsTable:
    """The plan's `settings` and `access_log`.

    Args:
        contents: checks variables and makes paths absolute.
        report: takes the problems.
    """

    def __init__(self, contents: Contents, report: Report) -> None:
        self.contents = contents
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
        self._set_headers(own.get("set_headers", {}), (*path, "set_headers"))
        for name in ("add_headers", "add_trailers"):
            if name in own:
                own[name] = self._added(own[name], (*path, name))
        if "sub_filter" in own:
            self._sub_filter(own["sub_filter"], (*path, "sub_filter"))
        self._access(own, path)
        self._proxy_texts(own, path)
        if "sendfile_roots" in own:
            own["sendfile_roots"] = [self.contents.absolute(root) for root in own["sendfile_roots"]]
        return own

    def _access(self, own: dict[str, Any], path: Path) -> None:
        """Check what a level says of who may come in, and name files in full."""
        for name in _TEXTS:
            if name in own:
                self.contents.text(own[name], (*path, name))
        for variable, value in own.get("auth_request_set", {}).items():
            self.contents.text(value, (*path, "auth_request_set", variable))
        if "auth_basic_user_file" in own:
            own["auth_basic_user_file"] = self._user_file(own["auth_basic_user_file"])
        for index, server in enumerate(own.get("resolver", ())):
            try:
                addresses.split(server)
            except ValueError as error:
                self.report.error((*path, "resolver", index), str(error))
        if "request_body_dir" in own:
            own["request_body_dir"] = self.contents.absolute(own["request_body_dir"])
        if "mirror" in own:
            own["mirror"] = [uri for uri in own["mirror"] if uri != "off"]

    def _user_file(self, name: str) -> str:
        return name if name.startswith(("/", "$")) else self.contents.absolute(name)

    def _proxy_texts(self, own: dict[str, Any], path: Path) -> None:
        """Check the variables and regular expressions of settings that have both."""
        for name in _PROXY_TEXTS:
            if name in own:
                self.contents.text(own[name], (*path, name))
        for index, text in enumerate(own.get("early_hints", ())):
            self.contents.text(text, (*path, "early_hints", index))
        for name in ("proxy_redirect", "proxy_cookie_domain", "proxy_cookie_path"):
            for index, replace in enumerate(own.get(name, ())):
                self.contents.pattern(replace["from"], (*path, name, index))
                self.contents.text(replace.get("to", ""), (*path, name, index))
        for index, flags in enumerate(own.get("proxy_cookie_flags", ())):
            self.contents.pattern(flags["cookie"], (*path, "proxy_cookie_flags", index))
            for flag in flags.get("flags", ()):
                self.contents.text(flag, (*path, "proxy_cookie_flags", index))

    def _set_headers(self, headers: dict[str, str | list[str]], path: Path) -> None:
        for header, values in headers.items():
            for value in [values] if isinstance(values, str) else values:
                self._header(header, value, (*path, header))

    def _header(self, header: str, value: str, place: Path) -> None:
        if not _HEADER.fullmatch(header):
            self.report.error(place, f'"{header}" is not the name of a header', key=True)
        if any(ord(character) < 0x20 and character != "\t" for character in value):  # noqa: PLR2004
            self.report.error(place, f"the value of {header} has control characters")
        self.contents.text(value, place)

    def _added(self, headers: dict[str, str] | list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
        if isinstance(headers, dict):
            for header, value in headers.items():
                self._header(header, value, (*path, header))
            return [{"name": header, "value": value} for header, value in headers.items()]
        for index, added in enumerate(headers):
            self._header(added["name"], added["value"], (*path, index, "value"))
        return headers

    def _sub_filter(self, pairs: list[dict[str, Any]], path: Path) -> None:
        for index, pair in enumerate(pairs):
            if not pair["text"]:
                self.report.error((*path, index), "an empty text would be found everywhere")
            self.contents.text(pair["text"], (*path, index))
            self.contents.text(pair["replacement"], (*path, index))

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
