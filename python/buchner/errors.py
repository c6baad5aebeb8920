"""The exceptions of the package.

::

    BuchnerError                 exit status 1
    ├── ConfigError              exit status 2; a setting, a flag or a file is wrong
    ├── AppImportError           exit status 3; the app could not be imported
    ├── ListenError              an address could not be opened
    ├── InstanceError            the running instance was not found, or is not the only one
    └── UpgradeError             the new version did not pass its check; nothing was changed

Each message is written for the person who has to act on it: what happened, where, what to do.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration, and where.

    Args:
        message: what is wrong and what to do, one sentence.
        where: path in the configuration, such as ``server[0].route[2].proxy``, or empty.
        file: name of the file or origin (``gateway.toml``, ``command line``).
        line: line number from 1, or 0 if there is none.
        column: column in characters from 1.
        source: text of the line.
        width: number of characters concerned, for the caret.
    """

    message: str
    where: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    source: str = ""
    width: int = 1

    def __str__(self) -> str:
        """``file:line:column: where: message``, then the line and a caret under the place."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        head = ": ".join(part for part in (place, self.where, self.message) if part)
        if not self.line:
            return head
        number = str(self.line)
        source = self.source.replace("\t", " ")
        room = max(1, len(source) - self.column + 1)
        caret = " " * (self.column - 1) + "^" * max(1, min(self.width, room))
        return f"{head}\n  {number} | {source}\n  {' ' * len(number)} | {caret}"


class BuchnerError(Exception):
    """Anything Buchner reports to its user; `exit_status` is what the command line exits with."""

    exit_status = 1


class ConfigError(BuchnerError):
    """The configuration or the command line is wrong.

    Args:
        problems: All of them, in the order of the file; or one, in words.
    """

    exit_status = 2

    def __init__(self, problems: list[Problem] | str) -> None:
        self.problems = [Problem(problems)] if isinstance(problems, str) else problems
        super().__init__("\n".join(str(problem) for problem in self.problems))


class AppImportError(BuchnerError):
    """The app could not be imported.

    Args:
        message: What failed, in words.
        traceback: The traceback as Python prints it; empty where it would only show Buchner's own frames.
    """

    exit_status = 3

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class ListenError(BuchnerError):
    """An address could not be opened; the message names it and says what to do."""


class InstanceError(BuchnerError):
    """No running instance matches, or more than one does, or it did not answer."""


class UpgradeError(BuchnerError):
    """The upgrade was refused before anything changed."""
