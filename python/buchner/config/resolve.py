"""From the document as written to the resolved plan: inheritance, units, indices, checks that need the whole."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from buchner import cpus
from buchner.config import _generated as gen
from buchner.config.acme import Acme
from buchner.config.content import DEFAULT_APP, Contents
from buchner.config.limits import Limits
from buchner.config.listeners import Listeners
from buchner.config.maps import Maps
from buchner.config.model import Loaded
from buchner.config.processes import app_settings, gateway_plan, process_settings, with_heartbeat
from buchner.config.rewrites import REGEX, Block, Rewrites, define
from buchner.config.settings import SettingsTable
from buchner.config.tls import Policies
from buchner.config.upstream_tls import UpstreamTerms, system_roots
from buchner.config.upstreams import Upstreams, tables
from buchner.config.values import convert
from buchner.config.variables import Definitions
from buchner.config.waf import Firewall

if TYPE_CHECKING:
    from pathlib import Path as FilePath

    from buchner.config.model import AppSettings
    from buchner.config.places import Path, Report

_METHOD = re.compile(r"[A-Z]+", re.ASCII)
_LAST = re.compile(r"=\d{3}|[/@$].*", re.DOTALL)
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
        self.variables = Definitions(report)
        self.contents = Contents(self.apps, self.upstreams, base, self.variables, report)
        self.terms = UpstreamTerms(report)
        self.limits = Limits(document, report)
        self.settings = SettingsTable(self.contents, self.terms, self.limits, report)
        self.rewrites = Rewrites(self.contents, self.settings, report)
        self.listeners = Listeners(report)
        self.acme = Acme(document.acme, base, report)
        self.policies = Policies(base, self.acme, report)

    def resolve(self) -> Loaded:
        """Return the plan and all else there is to know.

        Raises:
            ConfigError: something is wrong; all of it with places.

        """
        servers = self._servers()
        maps = Maps(self.document, self.variables, self.report)
        define(self.document, servers, self.variables)
        maps.resolve(self.contents)
        self.limits.resolve(self.contents)
        self.upstreams.check_keys(self.contents.text)
        root = self.settings.root(self.document)
        limits = convert(self.document, gen.HEAD_LIMITS, (), self.report)
        plans = [self._server(index, server, root, limits) for index, server in enumerate(servers)]
        self.listeners.check()
        self.upstreams.warn_unused()
        gateway = gateway_plan(self.document.gateway, self.base, self.report)
        process = process_settings(self.document.gateway, self.base, self.report)
        gateway.setdefault("io_threads", max(1, cpus.usable() // 4))
        plan = {
            "gateway": gateway,
            "listen": self.listeners.plan(),
            "server": plans,
            "upstream": self.upstreams.plan,
            "app": self.pools,
            "settings": self.settings.plan,
            "access_log": self.settings.logs,
        }
        if self.policies.plan:
            plan["tls"] = self.policies.plan
        if self.terms.plan:
            plan["upstream_tls"] = self.terms.plan
        firewall = Firewall(self.document.crs, self.base, self.report).plan(self.settings.plan)
        roots = system_roots(plan, self.report) if self.upstreams.encrypted else None
        self.report.finish()
        if roots is not None:
            plan["system_roots"] = roots
        plan |= self.limits.plan
        plan |= firewall
        if self.variables.plan:
            plan["variable"] = self.variables.plan
        if self.settings.types:
            plan["types"] = self.settings.types
        return Loaded(
            plan,
            with_heartbeat(self.apps, self.settings.plan),
            process,
            self.listeners.addresses(),
            self.listeners.sockets,
            self.listeners.encrypted(),
            self.policies.files,
            self.terms.files,
            kept=self.acme.kept,
            standing_in=frozenset(self.acme.stand_ins),
            warnings=self.report.warnings,
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
        if server.tls is not UNSET and server.http2 is UNSET and self.document.http2 is UNSET:
            server.http2 = True  # browsers speak it over TLS alone, and choose
        listen = [DEFAULT_LISTEN] if server.listen is UNSET else as_list(server.listen)
        names = [] if server.names is UNSET else as_list(server.names)
        indices, names = self.listeners.add(
            index, listen, names, default=server.default_server is True, limits={**limits, **own}
        )
        settings = self.settings.under(root, server, path)
        plan: dict[str, Any] = {"listen": indices, "names": names, "settings": settings}
        if server.tls is not UNSET:
            plan["tls"] = self.policies.resolve(server.tls, names, (*path, "tls"))
            self.listeners.certify(index, indices)
        if server.rewrite is not UNSET:
            plan["rewrite"] = self.rewrites.resolve(server.rewrite, (*path, "rewrite"), None)
        plan["route"] = self._top_routes(server, settings, path)
        return plan

    def _top_routes(self, server: gen.Server, settings: int, path: Path) -> list[dict[str, Any]]:
        routes = [] if server.route is UNSET else server.route
        if not routes and DEFAULT_APP in self.apps:
            routes = [gen.Route(path="/", app=True)]
        elif not routes and server.rewrite is UNSET:
            self.report.warn(path, "this server has no route: every request gets 404")
        plan = self._routes(routes, settings, path)
        named = {route.path for route in routes if route.path.startswith("@")}
        if server.error_page is not UNSET:
            self._check_targets(server, path, named)
        self._check_route_targets(routes, path, named)
        return plan

    def _routes(
        self, routes: list[gen.Route], settings: int, path: Path, within: gen.Route | None = None
    ) -> list[dict[str, Any]]:
        seen: dict[tuple[str, str], int] = {}
        plan = []
        for index, route in enumerate(routes):
            place = (*path, "route", index)
            kind = "prefix" if route.match is UNSET else str(route.match)
            problem = path_problem(route.path, kind, within)
            if problem:
                self.report.slip((*place, "path"), problem)
            identity = (route.path, "prefix" if kind == "no_regex" else kind)
            first = seen.setdefault(identity, index)
            if first != index:
                self.report.error(
                    (*place, "path"),
                    f'the path "{route.path}" stands in {self.report.line((*path, "route", first, "path"))} already',
                )
            plan.append(self._route(route, settings, place))
        return plan

    def _route(self, route: gen.Route, settings: int, path: Path) -> dict[str, Any]:
        plan: dict[str, Any] = {"path": route.path}
        if route.match is not UNSET and route.match != "prefix":
            plan["match"] = route.match
        if route.internal is True or route.path.startswith("@"):
            plan["internal"] = True
        optional = route.rewrite is not UNSET or route.route is not UNSET
        content = self.contents.resolve(route, path, optional=optional)
        if content is not None:
            plan["content"] = content
        plan["settings"] = own = self.settings.under(settings, route, path)
        if route.try_files is not UNSET:
            plan["try_files"] = self._try_files(route.try_files, (*path, "try_files"))
        if route.rewrite is not UNSET:
            plan["rewrite"] = self.rewrites.resolve(route.rewrite, (*path, "rewrite"), Block(own, content))
        if route.limit_except is not UNSET:
            plan["limit_except"] = self._limit_except(route.limit_except, own, content, (*path, "limit_except"))
        if route.route is not UNSET:
            plan["route"] = self._routes(route.route, own, path, route)
        return plan

    def _limit_except(
        self, table: gen.LimitExcept, settings: int, content: dict[str, Any] | None, path: Path
    ) -> dict[str, Any]:
        for index, method in enumerate(table.methods):
            if not _METHOD.fullmatch(method):
                self.report.error((*path, "methods", index), f'"{method}" is not the name of a method')
        if not table.methods:
            self.report.error((*path, "methods"), "name at least one method")
        location: dict[str, Any] = {"settings": self.settings.under(settings, table, path)}
        content = self.contents.resolve(table, path, optional=True) or content
        if content is not None:
            location["content"] = content
        return {"methods": table.methods, "location": location}

    def _try_files(self, files: list[str], path: Path) -> list[str]:
        for index, text in enumerate(files):
            self.contents.text(text, (*path, index))
        if len(files) < 2:  # noqa: PLR2004
            self.report.error(path, "try_files needs a path to try, and where to go if there is nothing")
        elif not _LAST.fullmatch(files[-1]):
            tell = self.report.error if files[-1].startswith("=") else self.report.slip
            tell(
                (*path, len(files) - 1), f'"{files[-1]}" is not where a request can go: a URI, an "@route" or "=404" is'
            )
        return files

    def _check_route_targets(self, routes: list[gen.Route], path: Path, named: set[str]) -> None:
        for index, route in enumerate(routes):
            place = (*path, "route", index)
            if route.try_files is not UNSET and route.try_files:
                last = len(route.try_files) - 1
                self._check_target(route.try_files[last], (*place, "try_files", last), named)
            if route.error_page is not UNSET or route.files is not UNSET:
                self._check_targets(route, place, named)
            if route.route is not UNSET:
                self._check_route_targets(route.route, place, named)

    def _check_targets(self, table: gen.Server | gen.Route, path: Path, named: set[str]) -> None:
        """Check that `@name` of error_page and fallback is a route of the same server."""
        pages = table.error_page if table.error_page is not UNSET else {}
        targets = [
            ((*path, "error_page", key), page if isinstance(page, str) else page.to) for key, page in pages.items()
        ]
        if isinstance(table, gen.Route) and isinstance(table.files, gen.Files) and table.files.fallback is not UNSET:
            targets.append(((*path, "files", "fallback"), table.files.fallback))
        for place, target in targets:
            self._check_target(target, place, named)

    def _check_target(self, target: str, place: Path, named: set[str]) -> None:
        if target.startswith("@") and "$" not in target and target not in named:
            self.report.slip(place, f'this server has no route with the path "{target}"')


def as_list(value: str | list[str]) -> list[str]:
    """Return a bare string as a list of one."""
    return [value] if isinstance(value, str) else value


def path_problem(path: str, kind: str, within: gen.Route | None) -> str | None:
    """Return what is wrong with the path of a route, if anything.

    Args:
        path: the path.
        kind: how it is compared.
        within: the route around it.

    """
    problem = None if within is None else _nesting_problem(path, kind, within)
    if problem or kind in REGEX:
        return problem
    if path.startswith("@"):
        return None if len(path) > 1 else '"@" needs a name behind it'
    if not path.startswith("/"):
        return f'the path "{path}" does not begin with "/" (or "@" for a named route)'
    if "?" in path or "#" in path:
        return f'the path "{path}" has a query or fragment: routes match the path only'
    if "//" in path or ("/." in path and any(part in (".", "..") for part in path.split("/"))):
        return f'the path "{path}" never matches: requests are matched with "//", "." and ".." taken out'
    return None


def _nesting_problem(path: str, kind: str, within: gen.Route) -> str | None:
    if within.match == "exact":
        return f'nothing can lie within the exact route "{within.path}"'
    if within.path.startswith("@"):
        return f'nothing can lie within the named route "{within.path}"'
    if kind in REGEX:
        return None
    if path.startswith("@"):
        return f'the named route "{path}" can only stand in a server'
    if not path.startswith(within.path):
        return f'the path "{path}" is not within "{within.path}", the route around it'
    return None
