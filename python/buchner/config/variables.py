"""The variables a configuration may use, named as in nginx."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from buchner.config import native
from buchner.config.suggest import hint

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from buchner.config.places import Path, Report

DESCRIPTIONS = dict(native.variables())
"""What every variable is, by name; a name with ``_`` at its end stands for all that begin with it."""

VARIABLES = frozenset(name for name in DESCRIPTIONS if not name.endswith("_"))
"""Variables with a fixed name."""
_DEFINABLE = frozenset(native.definable_variables())

PREFIXES = tuple(name for name in DESCRIPTIONS if name.endswith("_"))
"""Beginnings of variables named after a request argument, cookie or header."""

_REFERENCE = re.compile(r"\$(?:\{([a-zA-Z_]\w*)\}|([a-zA-Z_]\w*)|(\{[1-9]\}|[1-9])|(.?))", re.ASCII)
_NAME = re.compile(r"[a-zA-Z_]\w*", re.ASCII)


def problems(text: str, defined: Collection[str] = ()) -> Iterator[str]:
    """Yield what is wrong with the variables of `text`, a message each.

    Args:
        text: the text.
        defined: names that the configuration defines.

    """
    if "$" not in text:
        return
    for braced, plain, group, other in _REFERENCE.findall(text):
        name = braced or plain
        if group or name in defined or name in VARIABLES or name.startswith(PREFIXES):
            continue
        if name:
            yield f'unknown variable "${name}"{_hint(name, defined)}'
        else:
            yield f'"${other}" begins no variable; there is no escape for "$"' if other else 'a lone "$"'


def _hint(name: str, defined: Iterable[str]) -> str:
    return hint(f"${name}", (f"${known}" for known in (*VARIABLES, *defined)))


class Definitions:
    """The variables that a configuration defines itself.

    Args:
        report: takes the problems.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self.plan: list[dict[str, Any]] = []
        self._known: set[str] = set()

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def slot(self, name: str, path: Path) -> None:
        """Define a variable that something puts a value into; several places may do so."""
        if name not in self._known and self._named(name, path):
            self.plan.append({"name": name, "value": {"slot": True}})

    def computed(self, name: str, value: dict[str, Any], path: Path) -> None:
        """Define a variable whose value is looked for; it has one definition."""
        if name in self._known:
            self.report.error(path, f'"${name}" is defined already', key=True)
        elif self._named(name, path):
            self.plan.append({"name": name, "value": value})

    def _named(self, name: str, path: Path) -> bool:
        """Take note of a name, unless no variable can have it."""
        if not _NAME.fullmatch(name):
            self.report.error(path, f'"${name}" is not a name of a variable: letters, digits and "_" are allowed')
        elif name in VARIABLES - _DEFINABLE:
            self.report.error(path, f'"${name}" is built in and cannot be defined')
        else:
            self._known.add(name)
            return True
        return False

    def regex(self, text: str, path: Path) -> None:
        """Check a regular expression and define the variables of its named groups."""
        try:
            names = native.regex_groups(text)
        except ValueError as error:
            self.report.error(path, str(error))
            return
        for name in names:
            self.slot(name, path)
