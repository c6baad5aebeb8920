"""What answers a route, from the forms people write."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from buchner.config._generated import CONTENTS, AppContent, Files, If, LimitExcept, Proxy, Redirect, Respond, Route
from buchner.config.suggest import hint
from buchner.config.table import written
from buchner.config.upstreams import HTTP, SCHEMES
from buchner.config.variables import problems as variable_problems

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path as FilePath

    from buchner.config.places import Path, Report
    from buchner.config.upstreams import Upstreams
    from buchner.config.variables import Definitions

DEFAULT_APP = "app"
"""Name of the pool of `[app]`."""
_REDIRECTS = (301, 302, 303, 307, 308)
_PRECOMPRESSED = ("br", "zstd", "gzip")
_CLOSE = 444


class Contents:
    """Resolves the content of routes.

    Args:
        apps: the pools there are.
        upstreams: the upstreams there are.
        base: directory that relative paths start from.
        variables: those that the configuration defines.
        report: takes the problems.
    """

    def __init__(
        self,
        apps: Mapping[str, object],
        upstreams: Upstreams,
        base: FilePath,
        variables: Definitions,
        report: Report,
    ) -> None:
        self.apps = apps
        self.upstreams = upstreams
        self._directory = str(base)
        self.variables = variables
        self.report = report
        self._seen_roots: dict[str, str | None] = {}
        self._good_texts: set[str] = set()

    def resolve(self, route: Route | If | LimitExcept, path: Path, *, optional: bool = False) -> dict[str, Any] | None:
        """Return the plan's `Content` of a route, or None after reporting what is wrong.

        Args:
            route: the route, or a block within it.
            path: its path.
            optional: nothing need be there.

        """
        kinds = written(route, CONTENTS)
        if len(kinds) != 1:
            choices = ", ".join(CONTENTS)
            if not kinds and optional:
                return None
            if kinds:
                self.report.error(path, f"a route has one of {choices}; this one has {' and '.join(kinds)}")
            else:
                self.report.error(path, f"nothing answers this route: it needs one of {choices}")
            return None
        ((kind, value),) = kinds.items()
        content = getattr(self, f"_{kind}", self._plain)(value, (*path, kind))
        return None if content is None else {kind: content}

    def pattern(self, text: str, path: Path) -> None:
        """Check a text with variables or, behind ``~`` or ``~*``, a regular expression."""
        if text.startswith("~"):
            self.variables.regex(text[1:].removeprefix("*"), path)
        else:
            self.text(text, path)

    def text(self, text: str, path: Path) -> None:
        """Check the variables of a text."""
        if text in self._good_texts:
            return
        found = list(variable_problems(text, self.variables))
        for message in found:
            self.report.error(path, message)
        if not found:
            self._good_texts.add(text)

    def _files(self, files: str | Files, path: Path) -> dict[str, Any]:
        if isinstance(files, str):
            files = Files(root=files)
        plan: dict[str, Any] = msgspec.to_builtins(files)
        plan["root"] = root = self.absolute(files.root)
        self.text(root, (*path, "root"))
        for index, name in enumerate(plan.get("index", ())):
            self.text(name, (*path, "index", index))
        if "$" in root:
            pass  # which directories there are shows with the requests
        elif root not in self._seen_roots:
            self._seen_roots[root] = None if os.path.exists(root) else f'there is no directory "{root}"'  # noqa: PTH110
        if self._seen_roots.get(root):
            self.report.warn(path, str(self._seen_roots[root]))
        for index, name in enumerate(plan.get("precompressed", ())):
            if name not in _PRECOMPRESSED:
                self.report.error(
                    (*path, "precompressed", index), f'"{name}" is not one of {", ".join(_PRECOMPRESSED)}'
                )
        return plan

    def expect(self, root: str) -> None:
        """Say nothing of this directory, there or not: nobody wrote its name."""
        self._seen_roots[self.absolute(root)] = None

    def absolute(self, name: str) -> str:
        """Return a path of the configuration as an absolute one; one that begins with a variable stays as it is."""
        if name.startswith("$"):
            return name
        return os.path.normpath(os.path.join(self._directory, name))  # noqa: PTH118 - ten times the speed of pathlib

    def joined(self, name: str) -> str:
        """Return a relative path as one below the directory of the configuration, whatever its variables are."""
        return f"{self._directory}/{name}"

    def _proxy(self, proxy: str | Proxy, path: Path) -> dict[str, Any] | None:
        if isinstance(proxy, str):
            if "$" not in proxy:
                return self.upstreams.by_url(proxy, path)
            proxy = Proxy(url=proxy)
        if proxy.url is not UNSET:
            return self._proxy_url(proxy.url, path)
        if proxy.upstream is UNSET:
            self.report.error(path, "a proxy has an upstream or a url")
            return None
        language = HTTP if proxy.language is UNSET else proxy.language
        self.upstreams.by_name(proxy.upstream, (*path, "upstream"), language)
        self.upstreams.encrypted = self.upstreams.encrypted or proxy.tls is True
        if proxy.uri is not UNSET and not proxy.uri.startswith("/"):
            self.report.error((*path, "uri"), f'the URI "{proxy.uri}" does not begin with "/"')
        plan: dict[str, Any] = msgspec.to_builtins(proxy)
        return plan

    def _proxy_url(self, url: str, path: Path) -> dict[str, Any]:
        """Return the plan's `Proxy` for a URL with variables."""
        if not url.startswith("$") and url.lower().partition("://")[0] not in SCHEMES:
            known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            self.report.error(path, f'the URL "{url}" begins with none of {known}, nor with a variable')
        self.text(url, path)
        self.upstreams.by_variables(url)
        return {"url": url}

    def _app(self, app: bool | str | AppContent, path: Path) -> dict[str, Any] | None:
        if app is False:
            self.report.error(path, "app = false answers nothing: take the line out or name an app")
            return None
        if isinstance(app, AppContent):
            name, mount = app.pool, "" if app.mount is UNSET else app.mount.rstrip("/")
            path = (*path, "pool")
        else:
            name, mount = DEFAULT_APP if app is True else app, ""
        if name not in self.apps:
            self.report.error(path, self._unknown_app(name, implied=app is True))
            return None
        if mount and not mount.startswith("/"):
            self.report.error((*path[:-1], "mount"), f'the mount "{mount}" does not begin with "/"')
        return {"pool": name, "mount": mount} if mount else {"pool": name}

    def _unknown_app(self, name: str, *, implied: bool) -> str:
        if implied:
            others = f"; name one of {', '.join(sorted(self.apps))}" if self.apps else ""
            return f"there is no [app] table to run{others}"
        known = f"; known are {', '.join(sorted(self.apps))}" if self.apps else "; no [app] is defined"
        return f'unknown app "{name}"{hint(name, self.apps) or known}'

    def _plain(self, value: bool | msgspec.Struct, path: Path) -> Any:
        """Return the content of a handler that has no other forms than the plan's: a table, or true."""
        if value is False:
            self.report.error(path, f"{path[-1]} = false answers nothing: take the line out")
            return None
        return msgspec.to_builtins(value)

    def _redirect(self, redirect: str | Redirect, path: Path) -> dict[str, Any]:
        if isinstance(redirect, str):
            redirect = Redirect(to=redirect)
        status = 302 if redirect.status is UNSET else redirect.status
        if status not in _REDIRECTS:
            self.report.error((*path, "status"), f"{status} is not one of {', '.join(map(str, _REDIRECTS))}")
        if not redirect.to:
            self.report.error(path, "a redirect needs a URL")
        self.text(redirect.to, (*path, "to"))
        return {"status": status, "to": redirect.to}

    def _respond(self, respond: int | str | Respond, path: Path) -> dict[str, Any]:
        if isinstance(respond, int):
            respond = Respond(status=respond)
        elif isinstance(respond, str):
            respond = Respond(body=respond)
        plan = written(respond)
        plan.setdefault("status", 200)
        if not (200 <= plan["status"] <= 599) and plan["status"] != _CLOSE:  # noqa: PLR2004
            self.report.error(path, f"{plan['status']} is not a status a server answers with: 200 to 599 are")
        if "body" in plan:
            self.text(plan["body"], (*path, "body"))
        return plan
