"""From the document as written to the resolved plan: inheritance, units, indices, checks that need the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from buchner import cpus
from buchner.config import _generated as gen
from buchner.config.content import DEFAULT_APP, Contents
from buchner.config.listeners import Listeners
from buchner.config.model import Loaded
from buchner.config.processes import app_settings, gateway_plan, process_settings
from buchner.config.settings import SettingsTable
from buchner.config.upstreams import Upstreams, tables
from buchner.config.values import convert

if TYPE_CHECKING:
    from pathlib import Path as FilePath

    from buchner.config.model import AppSettings
    from buchner.config.places import Path, Report

DEFAULT_LISTEN = "127.0.0.1:8000"


class Resolver:
    """Resolves one document.

    Args:
        document: the document as written.
        base: directory that relative paths start from.
        report: takes the problems.
    """

    def __init__(self, document: gen.Document, base: FilePath, report: Report) -> None:
        self.document = document
        self.base = base
        self.report = report
        self.apps: dict[str, AppSettings] = {}
        self.pools: dict[str, dict[str, Any]] = {}
        self._read_apps()
        self.upstreams = Upstreams(tables(document.upstream), report)
        self.contents = Contents(self.apps, self.upstreams, base, report)
        self.settings = SettingsTable(self.contents, report)
        self.listeners = Listeners(report)

    def resolve(self) -> Loaded:
        """Return the plan and all else there is to know.

        Raises:
            ConfigError: something is wrong; all of it with places.

        """
        root = self.settings.root(self.document)
        limits = convert(self.document, gen.HEAD_LIMITS, (), self.report)
        servers = [self._server(index, server, root, limits) for index, server in enumerate(self._servers())]
        self.listeners.finish()
        self.upstreams.warn_unused()
        gateway = gateway_plan(self.document.gateway, self.base, self.report)
        process = process_settings(self.document.gateway, self.base, self.report)
        self.report.finish()
        gateway.setdefault("io_threads", max(1, cpus.usable() // 4))
        plan = {
            "gateway": gateway,
            "listen": self.listeners.plan(),
            "server": servers,
            "upstream": self.upstreams.plan,
            "app": self.pools,
            "settings": self.settings.plan,
            "access_log": self.settings.logs,
        }
        return Loaded(
            plan, self.apps, process, self.listeners.addresses(), self.listeners.backlog, warnings=self.report.warnings
        )

    def _read_apps(self) -> None:
        apps: list[tuple[str, Path, gen.App]] = []
        if self.document.app is not UNSET:
            app = gen.App(target=self.document.app) if isinstance(self.document.app, str) else self.document.app
            apps.append((DEFAULT_APP, ("app",), app))
        if self.document.apps is not UNSET:
            apps += [(name, ("apps", name), app) for name, app in self.document.apps.items()]
        for name, path, app in apps:
            if name in self.apps:
                self.report.error(path, f'"{name}" is the name of [app]: choose another', key=True)
            self.apps[name] = app_settings(app, self.base, path, self.report)
            self.pools[name] = convert(app, gen.APP_POOL, path, self.report)

    def _servers(self) -> list[gen.Server]:
        servers = [] if self.document.server is UNSET else self.document.server
        if servers:
            return servers
        if not self.apps:
            self.report.error((), "nothing to serve: add an [app] or a [[server]]")
        return [gen.Server()]

    def _server(self, index: int, server: gen.Server, root: int, limits: dict[str, Any]) -> dict[str, Any]:
        path: Path = ("server", index)
        own = convert(server, gen.HEAD_LIMITS, path, self.report)
        listen = [DEFAULT_LISTEN] if server.listen is UNSET else as_list(server.listen)
        names = [] if server.names is UNSET else as_list(server.names)
        indices, names = self.listeners.add(
            index, listen, names, default=server.default_server is True, limits={**limits, **own}
        )
        settings = self.settings.under(root, server, path)
        return {"listen": indices, "names": names, "settings": settings, "route": self._routes(server, settings, path)}

    def _routes(self, server: gen.Server, settings: int, path: Path) -> list[dict[str, Any]]:
        routes = [] if server.route is UNSET else server.route
        if not routes and DEFAULT_APP in self.apps:
            routes = [gen.Route(path="/", app=True)]
        elif not routes:
            self.report.warn(path, "this server has no route: every request gets 404")
        seen: dict[tuple[str, bool], int] = {}
        plan = []
        for index, route in enumerate(routes):
            place = (*path, "route", index)
            problem = path_problem(route.path)
            if problem:
                self.report.error((*place, "path"), problem)
            identity = (route.path, route.exact is True)
            first = seen.setdefault(identity, index)
            if first != index:
                self.report.error(
                    (*place, "path"), f'route[{first}] of this server has the path "{route.path}" already'
                )
            plan.append(self._route(route, settings, place))
        self._check_all_targets(server, routes, path)
        return plan

    def _check_all_targets(self, server: gen.Server, routes: list[gen.Route], path: Path) -> None:
        named = {route.path for route in routes if route.path.startswith("@")}
        if server.error_page is not UNSET:
            self._check_targets(server, path, named)
        for index, route in enumerate(routes):
            if route.error_page is not UNSET or route.files is not UNSET:
                self._check_targets(route, (*path, "route", index), named)

    def _route(self, route: gen.Route, settings: int, path: Path) -> dict[str, Any]:
        plan: dict[str, Any] = {"path": route.path}
        if route.exact is True:
            plan["exact"] = True
        if route.internal is True or route.path.startswith("@"):
            plan["internal"] = True
        plan["content"] = self.contents.resolve(route, path)
        plan["settings"] = self.settings.under(settings, route, path)
        return plan

    def _check_targets(self, table: gen.Server | gen.Route, path: Path, named: set[str]) -> None:
        """Check that `@name` of error_page and fallback is a route of the same server."""
        pages = table.error_page if table.error_page is not UNSET else {}
        targets = [((*path, "error_page", key), target) for key, target in pages.items()]
        if isinstance(table, gen.Route) and isinstance(table.files, gen.Files) and table.files.fallback is not UNSET:
            targets.append(((*path, "files", "fallback"), table.files.fallback))
        for place, target in targets:
            if target.startswith("@") and target not in named:
                self.report.error(place, f'this server has no route with the path "{target}"')


def as_list(value: str | list[str]) -> list[str]:
    """Return a bare string as a list of one."""
    return [value] if isinstance(value, str) else value


def path_problem(path: str) -> str | None:
    """Return what is wrong with the path of a route, if anything."""
    if path.startswith("@"):
        return None if len(path) > 1 else '"@" needs a name behind it'
    if not path.startswith("/"):
        return f'the path "{path}" does not begin with "/" (or "@" for a named route)'
    if "?" in path or "#" in path:
        return f'the path "{path}" has a query or fragment: routes match the path only'
    if "//" in path or ("/." in path and any(part in (".", "..") for part in path.split("/"))):
        return f'the path "{path}" never matches: requests are matched with "//", "." and ".." taken out'
    return None
