"""Settings Python obeys: the workers of apps and the process tree."""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from buchner.config import _generated as gen
from buchner.config import addresses
from buchner.config.model import AppSettings, ProcessSettings
from buchner.config.values import convert, in_seconds

if TYPE_CHECKING:
    from pathlib import Path as FilePath

    from buchner.config.places import Path, Report

_APP_TIMEOUT_MS = 60_000
"""`Settings.app_timeout` where nothing sets it (crates/gateway/src/config)."""


def app_settings(app: gen.App, base: FilePath, path: Path, report: Report) -> AppSettings:
    """Return how to run an app, with absolute paths.

    Args:
        app: the table as written.
        base: directory that relative paths start from.
        path: path of the table.
        report: takes the problems.

    """
    values = in_seconds(convert(app, AppSettings.__struct_fields__, path, report))
    values["chdir"] = chdir = os.path.normpath(base / values.get("chdir", "."))
    if not os.path.isdir(chdir):  # noqa: PTH112
        report.error((*path, "chdir"), f'there is no directory "{chdir}"')
    values["pythonpath"] = [os.path.normpath(base / entry) for entry in values.get("pythonpath", [])]
    target = values.get("target")
    if target is not None and not target.strip():
        report.error((*path, "target"), 'the target is empty: "module:app" is one')
    for name in values.get("env", {}):
        if not name or "=" in name:
            report.error((*path, "env", name), f'"{name}" is not the name of an environment variable', key=True)
    return AppSettings(**values)


def with_heartbeat(apps: dict[str, AppSettings], settings: list[dict[str, Any]]) -> dict[str, AppSettings]:
    """Return how to run the apps, with `heartbeat` set: C code may hold an interpreter as long as a request may take.

    Args:
        apps: the settings of each app.
        settings: all settings of the plan.

    """
    limits = [entry.get("app_timeout", _APP_TIMEOUT_MS) for entry in settings] or [_APP_TIMEOUT_MS]
    longest = max(limits) / 1000 if min(limits) else 0.0
    return {
        name: msgspec.structs.replace(app, heartbeat=longest if app.heartbeat is None else app.heartbeat)
        for name, app in apps.items()
    }


def process_settings(gateway: gen.Gateway | UnsetType, base: FilePath, report: Report) -> ProcessSettings:
    """Return the settings of the process tree, with absolute paths."""
    if gateway is UNSET:
        return ProcessSettings()
    values = in_seconds(convert(gateway, ProcessSettings.__struct_fields__, ("gateway",), report))
    for name in ("pid_file", "error_log"):
        if values.get(name, "-") != "-":
            values[name] = os.path.normpath(base / values[name])
            directory = os.path.dirname(values[name])  # noqa: PTH120
            if not os.path.isdir(directory):  # noqa: PTH112
                report.error(("gateway", name), f'there is no directory "{directory}"')
    return ProcessSettings(**values)


def gateway_plan(gateway: gen.Gateway | UnsetType, base: FilePath, report: Report) -> dict[str, Any]:
    """Return the plan's `gateway`, with absolute paths."""
    plan = {} if gateway is UNSET else convert(gateway, gen.GATEWAY, ("gateway",), report)
    for name in ("prefix", "users_prefix"):
        if name in plan or name == "prefix":
            plan[name] = os.path.normpath(base / plan.get(name, "."))
    if not plan.get("io_threads", 1):
        del plan["io_threads"]
    for index, network in enumerate(plan.get("trusted_proxies", ())):
        if network in ("*", "unix"):
            continue
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            report.error(("gateway", "trusted_proxies", index), f'{error}; an address, a network, "unix" or "*" is')
    for index, server in enumerate(plan.get("resolver", ())):
        try:
            addresses.split(server)
        except ValueError as error:
            report.error(("gateway", "resolver", index), str(error))
    if "spool_dir" in plan:
        plan["spool_dir"] = directory = os.path.normpath(base / plan["spool_dir"])
        if not os.path.isdir(directory):  # noqa: PTH112
            report.error(("gateway", "spool_dir"), f'there is no directory "{directory}"')
    return plan
