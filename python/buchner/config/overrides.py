"""Settings of the command line that go over those of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from buchner.config.places import dotted
from buchner.errors import Problem

if TYPE_CHECKING:
    from buchner.config import places


def merged(document: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Return `document` with `overrides` in it: tables merged, everything else replaced."""
    result = dict(document)
    for key, value in overrides.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


class OverriddenPlaces:
    """Places of a file that other settings were merged into.

    Args:
        source: places of the file.
        overrides: the settings merged into it.
        origin: what to call them.
    """

    def __init__(self, source: places.Places, overrides: dict[str, Any], origin: str = "command line") -> None:
        self.source = source
        self.overrides = overrides
        self.origin = origin

    def problem(self, path: places.Path, message: str, *, key: bool = False) -> Problem:
        """Return a problem at its place in the file, or under the name of the overrides."""
        table: Any = self.overrides
        for part in path:
            if not isinstance(table, dict):
                break  # a value that replaced the file's, and the path leads into it
            if part not in table:
                return self.source.problem(path, message, key=key)
            table = table[part]
        if not path or isinstance(table, dict):
            return self.source.problem(path, message, key=key)
        return Problem(message, where=dotted(path), file=self.origin)
