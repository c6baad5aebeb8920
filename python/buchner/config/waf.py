"""The firewall's rules: `[crs]`, put together as one text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from buchner.config.model import CrsSettings
from buchner.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path as FilePath

    from buchner.config.places import Report


class Firewall:
    """Resolves `[crs]`.

    Args:
        crs: the table or directory as written.
        base: directory that relative paths start from.
        report: takes the problems.
    """

    def __init__(self, crs: Any, base: FilePath, report: Report) -> None:
        self._base = base
        self._report = report
        written: dict[str, Any] = {}
        if isinstance(crs, str):
            written = {"path": crs}
        elif crs is not UNSET:
            written = msgspec.to_builtins(crs)
        self._settings = msgspec.convert(written, CrsSettings)
        self._is_written = crs is not UNSET

    def plan(self, settings: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the plan's `waf`, empty where no level wants the rules.

        Args:
            settings: the plan's settings.

        """
        if all(level.get("waf", "off") == "off" or level.get("waf_rules") for level in settings):
            return {}
        try:
            return {"waf": {"text": self._text(), "base": str(self._base)}}
        except ConfigError as error:
            self._report.error(("crs",) if self._is_written else ("waf",), str(error))
            return {}

    def _text(self) -> str:
        from buchner.waf import crs  # noqa: PLC0415 - where there is no firewall nobody needs it

        own = self._settings
        ruleset = crs.find(None if own.path is None else self._base / own.path)
        tuning = crs.Tuning(
            paranoia=own.paranoia,
            inbound_threshold=own.inbound_threshold,
            outbound_threshold=own.outbound_threshold,
            sampling=own.sampling,
            before=tuple(self._base / name for name in own.before),
            after=tuple(self._base / name for name in own.after),
        )
        sources = crs.sources(ruleset, tuning)
        parts = [f'Include "{name}"\n' if text is None else text for name, text in sources]
        return "".join([*parts, f"SecResponseBodyAccess {'On' if own.response_bodies else 'Off'}\n"])
