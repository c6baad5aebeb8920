"""Directives and blocks of nginx.conf, with ``include`` carried out."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buchner.nginx.lexer import Source, Token, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buchner.errors import Problem

_QUANTIFIER = re.compile(r"\{\d+(?:,\d*)?\}")
_SURROGATE = re.compile("[\ud800-\udfff]")


class _CutError(Exception):
    """Nothing can be read behind this."""


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


SHIPPED = ("fastcgi_params", "fastcgi.conf", "scgi_params", "uwsgi_params")
"""Files of nginx that a configuration may include although they are not beside it: ours take their place."""


class Parser:
    """Parses files and what they include.

    Args:
        base: directory that relative names of ``include`` start from, in whichever file they stand.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.problems: list[Problem] = []
        self.sources: dict[str, Source] = {}
        """The files read, the main one first."""
        self.unread: list[Problem] = []
        """Those of `problems` that are about files that cannot be read."""
        self._open: list[str] = []

    @property
    def files(self) -> list[Path]:
        """The files read, the main one first."""
        return [Path(name) for name in self.sources]

    def parse(self, name: str, text: str) -> list[Directive]:
        """Return the directives of a text; what is wrong is added to `problems`.

        Args:
            name: the file's name.
            text: its text; bytes that are not UTF-8 are surrogates.

        """
        source = Source(name, text)
        self.sources.setdefault(name, source)
        self._open.append(str(Path(name).resolve()))
        if text.startswith("\ufeff"):
            self.problems.append(
                Token(text[0], False, source, 0, 1).problem("the file begins with a byte order mark: save it without")
            )
        found = tokens(source, self.problems)
        if not text.isascii() and _SURROGATE.search(text):
            found = self._checked(found)
        try:
            directives = self._parse(self._whole(found))
        except _CutError:
            directives = []  # what comes behind it would be taken for directives
        self._open.pop()
        return directives

    def _whole(self, found: Iterator[Token]) -> Iterator[Token]:
        """Yield tokens up to the ``{2}`` of a regular expression without quotes."""
        word: Token | None = None
        for token in found:
            touching = token.mark and word is not None and word.end == token.start
            if word is not None and touching and _QUANTIFIER.match(token.source.text, token.start):
                message = f'"{word.text}" ends at the brace: a regular expression with braces stands in quotes'
                self.problems.append(word.problem(message))
                raise _CutError
            word = None if token.mark else token
            yield token

    def _checked(self, found: Iterator[Token]) -> Iterator[Token]:
        for token in found:
            if _SURROGATE.search(token.text):
                self.problems.append(token.problem(f'"{token.text}" has bytes that are not UTF-8'))
            yield token

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
                directive = Directive(words[0], words[1:])
                if directive.name == "include":
                    stack[-1][1].extend(self._included(directive))
                else:
                    stack[-1][1].append(directive)
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

    def _included(self, directive: Directive) -> list[Directive]:
        if len(directive.args) != 1:
            self.problems.append(directive.token.problem('"include" takes one file name or pattern'))
            return []
        pattern = str(self.base / directive.args[0].text)
        if directive.args[0].text in SHIPPED and not os.path.exists(pattern):  # noqa: PTH110
            pattern = str(Path(__file__).with_name("params") / directive.args[0].text)
        # nginx expands a pattern with glob(3), which sorts; one without a match is fine there as well
        names = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]  # noqa: PTH207
        return [inner for name in names for inner in self._include(name, directive.args[0])]

    def _include(self, name: str, place: Token) -> list[Directive]:
        path = Path(name)
        real = str(path.resolve())
        if real in self._open:
            chain = " → ".join(Path(one).name for one in [*self._open[self._open.index(real) :], real])
            self.problems.append(place.problem(f'"{name}" includes itself: {chain}'))
            return []
        try:
            text = path.read_bytes().decode(errors="surrogateescape")
        except OSError as error:
            self.unread.append(place.problem(f'"{name}" cannot be read: {error.strerror}'))
            self.problems.append(self.unread[-1])
            return []
        return self.parse(name, text)
