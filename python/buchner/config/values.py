"""Values as written to values of the plan: times to milliseconds, sizes to bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from buchner.config import units
from buchner.config._generated import UNITS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buchner.config.places import Path, Report
    from buchner.config.table import Table


def convert(table: Table, names: Iterable[str], path: Path, report: Report) -> dict[str, Any]:
    """Return those settings of `table` that are written, in the plan's units.

    Args:
        table: a table of the configuration.
        names: the settings wanted.
        path: path of the table.
        report: takes the problems.

    """
    plan: dict[str, Any] = {}
    for name in names:
        value = getattr(table, name)
        if value is UNSET:
            continue
        kind = UNITS.get(name)
        if kind is not None:
            try:
                value = units.milliseconds(value) if kind == "time" else units.size(value)
            except ValueError as error:
                report.error((*path, name), str(error))
                continue
        plan[name] = msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value
    return plan


def in_seconds(plan: dict[str, Any]) -> dict[str, Any]:
    """Return the same values with times in seconds, as the Python models have them."""
    return {name: value / 1000 if UNITS.get(name) == "time" else value for name, value in plan.items()}
