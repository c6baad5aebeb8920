"""Limits by key: `[limits]`, `[limit_req_zone]`, `[limit_conn_zone]`, and the settings that name them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from buchner.config import units
from buchner.config.suggest import hint
from buchner.rates import rate

if TYPE_CHECKING:
    from buchner.config import _generated as gen
    from buchner.config.content import Contents
    from buchner.config.places import Path, Report

_PRESET = re.compile(r"(?P<rate>.+?)(?:\s+by\s+(?P<key>\S.*?))?(?:\s+burst\s+(?P<burst>\d+))?", re.ASCII)
_KEYS = {"address": "$binary_remote_addr", "host": "$host", "path": "$uri", "everyone": "everyone"}
_NETWORK = 64
"""Bits of an IPv6 address that are one client where a preset counts by address: a subscriber has no less."""
_BITS = 128
_LEAST = 32 << 10


class Limits:
    """Resolves the tables of limits.

    Args:
        document: the document as written.
        report: takes the problems.
    """

    def __init__(self, document: gen.Document, report: Report) -> None:
        self.report = report
        self._presets: dict[str, str] = {} if document.limits is UNSET else document.limits
        self._req = {} if document.limit_req_zone is UNSET else document.limit_req_zone
        self._conn = {} if document.limit_conn_zone is UNSET else document.limit_conn_zone
        self.plan: dict[str, Any] = {}

    def resolve(self, contents: Contents) -> None:
        """Fill in the plan, now that all variables are known."""
        req = {name: self._preset(name, text, contents) for name, text in self._presets.items()}
        for name, zone in self._req.items():
            path: Path = ("limit_req_zone", name)
            if name in req:
                self.report.error(path, f'"{name}" is one of [limits] already', key=True)
            plan = self._zone(zone, path, contents)
            if zone.burst is not UNSET:
                plan["burst"] = zone.burst
            self._rate(zone.rate, (*path, "rate"), plan)
            req[name] = plan
        conn = {name: self._zone(zone, ("limit_conn_zone", name), contents) for name, zone in self._conn.items()}
        if req:
            self.plan["limit_req_zone"] = req
        if conn:
            self.plan["limit_conn_zone"] = conn

    def check(self, own: dict[str, Any], path: Path) -> None:
        """Check that the settings of a level name zones that there are."""
        rates = (*self._presets, *self._req)
        if isinstance(own.get("limit"), str):
            own["limit"] = [own["limit"]]
        for index, name in enumerate(own.get("limit", ())):
            if name not in rates:
                self.report.error(
                    (*path, "limit", index), f'there is no limit "{name}" in [limits]{hint(name, list(rates))}'
                )
        for setting, known in (("limit_req", rates), ("limit_conn", tuple(self._conn))):
            for index, limit in enumerate(own.get(setting, ())):
                name = limit["zone"]
                if name not in known:
                    self.report.error(
                        (*path, setting, index, "zone"), f'there is no {setting}_zone "{name}"{hint(name, list(known))}'
                    )

    def _rate(self, text: str, path: Path, plan: dict[str, Any]) -> int:
        """Put a rate into a zone, and return its requests."""
        try:
            found = rate(text)
        except ValueError as error:
            self.report.error(path, str(error))
            return 1
        plan |= {"rate": found.milli, "period": found.period}
        return max(found.requests, 1)

    def _preset(self, name: str, text: str, contents: Contents) -> dict[str, Any]:
        path: Path = ("limits", name)
        plan: dict[str, Any] = {"key": _KEYS["address"]}
        found = _PRESET.fullmatch(text.strip())
        if found is None:
            self.report.error(path, f'"{text}" is no limit: "5/minute by address" is')
            return plan
        count = self._rate(found["rate"], path, plan)
        plan["burst"] = int(found["burst"]) if found["burst"] else count - 1
        key = found["key"] or "address"
        if key not in _KEYS and "$" not in key:
            known = ", ".join(_KEYS)
            self.report.error(path, f'"{key}" is nothing to count by: {known} or a text with variables are')
            return plan
        plan["key"] = _KEYS.get(key, key)
        if key == "address":
            plan["ipv6_prefix"] = _NETWORK
        contents.text(plan["key"], path)
        return plan

    def _zone(self, zone: gen.LimitReqZone | gen.LimitConnZone, path: Path, contents: Contents) -> dict[str, Any]:
        contents.text(zone.key, (*path, "key"))
        if not zone.key:
            self.report.error((*path, "key"), "the key is empty, so nothing would ever be counted")
        plan: dict[str, Any] = {"key": zone.key}
        if zone.size is not UNSET:
            try:
                plan["size"] = units.size(zone.size)
            except ValueError as error:
                self.report.error((*path, "size"), str(error))
            else:
                if plan["size"] < _LEAST:
                    self.report.error((*path, "size"), f'the zone "{path[-1]}" is too small: 32k are the least')
        if zone.ipv6_prefix is not UNSET:
            plan["ipv6_prefix"] = zone.ipv6_prefix
            if not 0 <= zone.ipv6_prefix <= _BITS:
                self.report.error((*path, "ipv6_prefix"), f"{zone.ipv6_prefix} is not a number of bits from 0 to 128")
            elif zone.key != _KEYS["address"] and zone.ipv6_prefix != _BITS:
                self.report.error((*path, "ipv6_prefix"), f'the key is "{zone.key}" and not "$binary_remote_addr"')
        return plan
