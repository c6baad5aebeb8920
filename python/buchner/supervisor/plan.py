"""What the running apps add to a plan: native routes for their static folders, their limit on bodies, their folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from buchner.supervisor.messages import WorkerReady

_KERNELS_OWN = ("/proc", "/sys", "/dev")


def trusted(ready: WorkerReady, may_read: Callable[[str], bool]) -> WorkerReady:
    """What an app said of itself without the folders that its own user may not read.

    The gateway may run as another user: a worker must not have files served that it could not serve itself.

    Args:
        ready: What a worker said.
        may_read: Whether the worker's user can read a folder.
    """

    def own(folder: str) -> bool:
        path = os.path.realpath(folder)
        kernels = any(path == root or path.startswith(f"{root}/") for root in _KERNELS_OWN)
        return path != "/" and not kernels and may_read(path)

    return msgspec.structs.replace(
        ready,
        static=[folder for folder in ready.static if own(folder.folder)],
        folders=[folder for folder in ready.folders if own(folder)],
    )


def complete(
    plan: dict[str, Any], apps: Mapping[str, WorkerReady], may_read: Callable[[str], bool] = lambda _folder: True
) -> dict[str, Any]:
    """A plan with what the apps told about themselves worked in; the one given stays as it is.

    A static folder becomes a `files` route whose missing files go to the app. An app with a MAX_CONTENT_LENGTH refuses
    larger bodies itself: they are not read ahead of it, unless `max_body` is written in the configuration. If the app
    asks for X-Sendfile, its folders become `sendfile_roots`, unless those are written. The plan's settings have only
    what is written: a value that equals a default is told from none.

    Args:
        plan: The resolved configuration.
        apps: By pool, what a worker said when it was ready.
        may_read: Whether the gateway's user can read a folder; the app serves those it cannot.
    """
    settings = list(plan.get("settings") or [{}])
    interned = _Settings(settings)
    servers = []
    for server in plan.get("server", []):
        routes: list[dict[str, Any]] = []
        taken = {route["path"] for route in server["route"]}
        for route in server["route"]:
            app = route.get("content", {}).get("app")
            ready = apps.get(app["pool"]) if app else None
            if ready is None:
                routes.append(route)
                continue
            changed = {**route, "settings": interned.for_app(route.get("settings", 0), ready)}
            routes.append(changed)
            if route.get("match", "prefix") in ("prefix", "no_regex"):
                routes += _static_routes(changed, ready, taken, may_read)
        servers.append({**server, "route": routes})
    return {**plan, "server": servers, "settings": settings}


class _Settings:
    """Interns the settings that differ from given ones in what an app says about itself."""

    def __init__(self, settings: list[dict[str, Any]]) -> None:
        self._settings = settings
        self._made: dict[bytes, int] = {}

    def for_app(self, index: int, ready: WorkerReady) -> int:
        """The index of settings like those at `index`, for the routes of this app."""
        base = self._settings[index]
        changed = dict(base)
        if ready.max_content_length is not None and "max_body" not in base:
            changed["max_body"] = 0
            # 0 is any number here, and none for Flask.
            changed.setdefault("request_buffering_max", max(1, ready.max_content_length))
        wanted = base.get("sendfile_headers", ready.x_sendfile)
        if wanted and ready.folders and "sendfile_roots" not in base:
            changed["sendfile_roots"] = ready.folders
            changed["sendfile_except"] = [*base.get("sendfile_except", []), *ready.hidden]
        if changed == base:
            return index
        key = msgspec.json.encode((index, changed), order="deterministic")
        if key not in self._made:
            self._made[key] = len(self._settings)
            self._settings.append(changed)
        return self._made[key]


def _static_routes(
    route: dict[str, Any], ready: WorkerReady, taken: set[str], may_read: Callable[[str], bool]
) -> list[dict[str, Any]]:
    app = route["content"]["app"]
    routes: list[dict[str, Any]] = []
    for folder in ready.static:
        path = f"{app.get('mount', '')}{folder.url_path}/"
        if not path.startswith(route["path"]) or any(other.startswith(path) for other in taken):
            continue
        if not may_read(folder.folder):
            continue
        fallback = f"@{app['pool']}{app.get('mount', '')}"
        if fallback not in taken:
            taken.add(fallback)
            routes.append({**route, "path": fallback})
        taken.add(path)
        files: dict[str, Any] = {
            "root": folder.folder,
            "index": [],
            "cache_control": folder.cache_control,
            "follow_symlinks": True,
            "fallback": fallback,
            "leave": folder.leave,
        }
        if not folder.precompressed:
            files["precompressed"] = []
        routes.append({**route, "path": path, "content": {"files": files}})
    return routes
