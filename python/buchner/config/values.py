"""Values as written to values of the plan: times to milliseconds, sizes to bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from buchner.config import units
from buchner.config._generated import UNITS
from buchner.config.table import written

if TYPE_CHECKING:
    from buchner.config.places import Path, Report
    from buchner.config.table import Table


def convert(table: Table, names: tuple[str, ...], path: Path, report: Report) -> dict[str, Any]:
    """Return those settings of `table` that are written, in the plan's units.

    Args:
        table: a table of the configuration.
        names: the settings wanted, two at least; all where none is named.
        path: path of the table.
        report: takes the problems.

    """
    plan: dict[str, Any] = {}
    for name, value in written(table, names).items():
        kind = UNITS.get(name)
        if kind is not None:
            try:
                plan[name] = units.milliseconds(value) if kind == "time" else units.size(value)
            except ValueError as error:
                report.error((*path, name), str(error))
        else:
            plan[name] = msgspec.to_builtins(value) if isinstance(value, msgspec.Struct | list | dict) else value
    return plan


def in_seconds(plan: dict[str, Any]) -> dict[str, Any]:
    """Return the same values with times in seconds, as the Python models have them."""
    return {name: value / 1000 if UNITS.get(name) == "time" else value for name, value in plan.items()}
