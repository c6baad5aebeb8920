"""Where the values of a configuration stand in its source, and the collection of problems found there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from buchner.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

Path = tuple[str | int, ...]
"""Path of a value: ``("server", 0, "route", 2, "proxy")``."""


class Places(Protocol):
    """Finds the place of a value."""

    def problem(self, path: Path, message: str, *, key: bool = False) -> Problem:
        """Return a problem at the place of `path`, or at the nearest value around it.

        Args:
            path: path of the value.
            message: what is wrong.
            key: point at the key rather than the value.

        """


class NamedPlaces:
    """Places of a document that has no text, such as flags or the Python API."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def problem(self, path: Path, message: str, *, key: bool = False) -> Problem:
        """Return a problem that names the origin and the path."""
        del key
        return Problem(message, where=dotted(path), file=self.origin)


class Report:
    """Errors and warnings of one load, so that all are told at once."""

    def __init__(self, places: Places, *, lenient: bool = False) -> None:
        self.places = places
        self.lenient = lenient
        """Slips that other servers start with are warnings."""
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def error(self, path: Path, message: str, *, key: bool = False) -> None:
        """Note what makes the configuration unusable."""
        self.errors.append(self.places.problem(path, message, key=key))

    def warn(self, path: Path, message: str, *, key: bool = False) -> None:
        """Note what is odd but works."""
        self.warnings.append(self.places.problem(path, message, key=key))

    def slip(self, path: Path, message: str, *, key: bool = False) -> None:
        """Note what surely is a mistake, but one that nginx starts with: a warning in its own files, else an error."""
        (self.warn if self.lenient else self.error)(path, message, key=key)

    def line(self, path: Path) -> str:
        """Return where a value stands, for the message about another one."""
        problem = self.places.problem(path, "")
        return f"line {problem.line} of {problem.file}" if problem.line else problem.where

    def finish(self) -> None:
        """Raise `ConfigError` if there were errors."""
        if self.errors:
            raise ConfigError(sorted_problems(self.errors))


def sorted_problems(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems in the order of their files, without repetitions."""
    return sorted(dict.fromkeys(problems), key=lambda problem: (problem.file, problem.line, problem.column))


def dotted(path: Path) -> str:
    """Return ``server[0].route[2].proxy`` for a path."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text
