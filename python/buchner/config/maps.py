"""Variables whose value depends on something: `[map]`, `[geo]`, `[geoip]`, `[split_clients]`."""

from __future__ import annotations

import ipaddress
import pathlib
import re
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

if TYPE_CHECKING:
    from buchner.config import _generated as gen
    from buchner.config.content import Contents
    from buchner.config.places import Path, Report
    from buchner.config.variables import Definitions

KINDS = ("map", "geo", "geoip", "split_clients")
_PERCENT = re.compile(r"(\d{1,3})(?:\.(\d{1,2}))?%", re.ASCII)
_WHOLE = 10_000


class Maps:
    """Resolves the tables of variables.

    Args:
        document: the document as written.
        variables: takes the definitions.
        report: takes the problems.
    """

    def __init__(self, document: gen.Document, variables: Definitions, report: Report) -> None:
        self.report = report
        self._tables: list[tuple[str, Path, Any, dict[str, Any]]] = []
        for kind in KINDS:
            tables = getattr(document, kind)
            for name, table in ({} if tables is UNSET else tables).items():
                path: Path = (kind, name)
                plan: dict[str, Any] = {}
                variables.computed(name, {kind: plan}, path)
                self._tables.append((kind, path, table, plan))
                if kind == "map" and table.values is not UNSET:
                    for pattern in table.values:
                        if pattern.startswith("~"):
                            variables.regex(pattern[1:].removeprefix("*"), (*path, "values", pattern))

    def resolve(self, contents: Contents) -> None:
        """Fill in the definitions, now that all variables are known."""
        for kind, path, table, plan in self._tables:
            if table.source is not UNSET:
                contents.text(table.source, (*path, "source"))
                plan["source"] = table.source
            getattr(self, f"_{kind}")(table, path, plan, contents)

    def _map(self, table: gen.Map, path: Path, plan: dict[str, Any], contents: Contents) -> None:
        values = {} if table.values is UNSET else table.values
        for pattern, value in values.items():
            contents.text(value, (*path, "values", pattern))
        plan["values"] = [[pattern, value] for pattern, value in values.items()]
        if table.default is not UNSET:
            contents.text(table.default, (*path, "default"))
            plan["default"] = table.default
        for name in ("hostnames", "volatile"):
            if getattr(table, name) is True:
                plan[name] = True

    def _geo(self, table: gen.Geo, path: Path, plan: dict[str, Any], contents: Contents) -> None:
        del contents
        networks = {} if table.networks is UNSET else table.networks
        for network in networks:
            problem = network_problem(network)
            if problem:
                self.report.error((*path, "networks", network), problem, key=True)
        plan["networks"] = [[network, value] for network, value in networks.items()]
        for name in ("default", "proxies", "proxy_recursive", "volatile"):
            if getattr(table, name) is not UNSET:
                plan[name] = getattr(table, name)
        for index, proxy in enumerate(plan.get("proxies", [])):
            problem = network_problem(proxy)
            if problem:
                self.report.error((*path, "proxies", index), problem)

    def _geoip(self, table: gen.GeoIp, path: Path, plan: dict[str, Any], contents: Contents) -> None:
        plan["database"] = contents.absolute(table.database)
        plan["field"] = table.field_
        if table.default is not UNSET:
            plan["default"] = table.default
        if not pathlib.Path(plan["database"]).is_file():
            self.report.error((*path, "database"), f'there is no file "{plan["database"]}"')
        if not all(table.field_.split(".")):
            self.report.error((*path, "field"), f'"{table.field_}" is no field: "country.iso_code" is one')

    def _split_clients(self, table: gen.SplitClients, path: Path, plan: dict[str, Any], contents: Contents) -> None:
        del contents
        parts = plan["parts"] = []
        total = 0
        for index, one in enumerate(table.parts):
            try:
                part = hundredths(one.size)
            except ValueError as error:
                self.report.error((*path, "parts", index), str(error))
                continue
            total += part
            parts.append([part, one.value])
        if total > _WHOLE:
            self.report.error(path, f"the parts of ${path[-1]} are more than 100 percent")


def hundredths(size: str) -> int:
    """Return a part in hundredths of a percent; 0 for `*`.

    Raises:
        ValueError: it is none.

    """
    if size == "*":
        return 0
    found = _PERCENT.fullmatch(size)
    part = int(found[1]) * 100 + int((found[2] or "").ljust(2, "0")) if found else 0
    if not 0 < part <= _WHOLE:
        raise ValueError(f'"{size}" is not a part: a percentage like "2.5%" with two decimals at most is, or "*"')
    return part


def network_problem(text: str) -> str | None:
    """Return what is wrong with a network or a range of addresses, if anything."""
    try:
        if "-" in text:
            first, last = (ipaddress.ip_address(part.strip()) for part in text.split("-", 1))
            if first.version != last.version or int(first) > int(last):
                return f'"{text}" is not a range: its first address comes first'
        else:
            ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f'"{text}" is not an address, a network like 10.0.0.0/8, or a range'
    return None
