"""Directives and blocks of nginx.conf, with ``include`` carried out."""

from __future__ import annotations

import glob
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buchner.nginx.lexer import LexError, Source, Token, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buchner.errors import Problem

_DEPTH = 64


@dataclass(slots=True)
class Directive:
    """A directive.

    Args:
        token: its name, with the place.
        args: its arguments.
        block: what stands in its braces, or None if a ``;`` ends it.
        values: its arguments as the kind of its row reads them, if it reads them.
    """

    token: Token
    args: list[Token] = field(default_factory=list)
    block: list[Directive] | None = None
    values: list[Any] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the directive."""
        return self.token.text

    @property
    def words(self) -> list[str]:
        """The arguments' texts."""
        return [arg.text for arg in self.args]


class Parser:
    """Parses a file and what it includes.

    Args:
        base: directory that relative names of ``include`` start from.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.problems: list[Problem] = []
        self.files: list[Path] = []
        self._open: list[Path] = []

    def parse(self, name: str, text: str) -> list[Directive]:
        """Return the directives of a text; what is wrong is added to `problems`."""
        self.files.append(Path(name))
        try:
            return self._parse(tokens(Source(name, text)))
        except LexError as error:
            self.problems.append(error.problem)
            return []

    def _parse(self, found: Iterator[Token]) -> list[Directive]:
        top: list[Directive] = []
        stack: list[tuple[Directive | None, list[Directive]]] = [(None, top)]
        words: list[Token] = []
        for token in found:
            if not token.mark:
                words.append(token)
            elif token.text == "}":
                words = self._close(token, words, stack)
            elif not words:
                self.problems.append(token.problem(f'unexpected "{token.text}": a directive stands before it'))
                if token.text == "{":
                    stack.append((None, []))
            elif token.text == "{":
                directive = Directive(words[0], words[1:], [])
                stack[-1][1].append(directive)
                stack.append((directive, directive.block if directive.block is not None else []))
                words = []
            else:
                stack[-1][1].extend(self._simple(Directive(words[0], words[1:])))
                words = []
        if words:
            self.problems.append(words[0].problem(f'the file ends before the ";" of "{words[0].text}"'))
        for opened, _ in stack[1:]:
            if opened is not None:
                self.problems.append(opened.token.problem(f'the block of "{opened.name}" is not closed by "}}"'))
        return top

    def _close(
        self, brace: Token, words: list[Token], stack: list[tuple[Directive | None, list[Directive]]]
    ) -> list[Token]:
        if words:
            self.problems.append(words[0].problem(f'"{words[0].text}" is not ended by ";"'))
        if len(stack) == 1:
            self.problems.append(brace.problem('unexpected "}": no block is open'))
        else:
            stack.pop()
        return []

    def _simple(self, directive: Directive) -> list[Directive]:
        if directive.name != "include":
            return [directive]
        if len(directive.args) != 1:
            self.problems.append(directive.token.problem('"include" takes one file name or pattern'))
            return []
        pattern = str(self.base / directive.args[0].text)
        names = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]  # noqa: PTH207
        found: list[Directive] = []
        for name in names:
            found += self._include(Path(name), directive)
        return found

    def _include(self, path: Path, directive: Directive) -> list[Directive]:
        if path in self._open or len(self._open) > _DEPTH:
            self.problems.append(directive.args[0].problem(f'"{path}" includes itself'))
            return []
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            self.problems.append(directive.args[0].problem(f'"{path}" cannot be read: {error.strerror}'))
            return []
        except UnicodeDecodeError:
            self.problems.append(directive.args[0].problem(f'"{path}" is not UTF-8 text'))
            return []
        self._open.append(path)
        found = self.parse(str(path), text)
        self._open.pop()
        return found
