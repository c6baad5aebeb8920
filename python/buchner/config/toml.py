"""gateway.toml: parsed in Rust, because `tomllib` gives no positions."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from buchner.config import native
from buchner.config.places import dotted, sorted_problems
from buchner.errors import ConfigError, Problem

if TYPE_CHECKING:
    from buchner.config.places import Path

_NEWLINE = 0x0A


class TomlPlaces:
    """Places in a TOML text. Positions are read from it only once there is a problem to place.

    Args:
        text: the document.
        name: its name for messages.
    """

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self._data = text.encode()
        self._spans: dict[str, tuple[int, int, int, int]] | None = None
        self._starts: list[int] = []

    def problem(self, path: Path, message: str, *, key: bool = False) -> Problem:
        """Return a problem at the value (or key) of `path`, or of the nearest one around it that is written down."""
        if self._spans is None:
            self._spans = native.toml_spans(self.text)
        for length in range(len(path), 0, -1):
            span = self._spans.get(_pointer(path[:length]))
            if span is not None:
                start, end = (span[0], span[1]) if key and length == len(path) else (span[2], span[3])
                return self.at(start, end, message, dotted(path))
        return Problem(message, where=dotted(path), file=self.name)

    def at(self, start: int, end: int, message: str, where: str = "") -> Problem:
        """Return a problem at bytes `start` to `end` of the text."""
        if not self._starts:
            self._starts = [0, *(place + 1 for place, byte in enumerate(self._data) if byte == _NEWLINE)]
        row = bisect_right(self._starts, start) - 1
        begin = self._starts[row]
        finish = self._starts[row + 1] - 1 if row + 1 < len(self._starts) else len(self._data)
        line = self._data[begin:finish].decode(errors="replace").rstrip("\r")
        column = len(self._data[begin:start].decode(errors="replace")) + 1
        width = len(self._data[start : min(end, finish)].decode(errors="replace"))
        return Problem(message, where, self.name, row + 1, column, line, max(1, width))


def _pointer(path: Path) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def parse(text: str, places: TomlPlaces) -> str:
    """Return a TOML text as JSON.

    Raises:
        ConfigError: it is not TOML; all syntax errors with their places.

    """
    document, errors = native.parse_toml(text)
    if errors:
        found = [places.at(start, end, f"not valid TOML: {message}") for start, end, message in errors]
        raise ConfigError(sorted_problems(found))
    return document
