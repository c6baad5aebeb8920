r"""Words, ``;``, ``{`` and ``}`` of nginx.conf, by the rules of ``ngx_conf_read_token``.

A word ends at a space, ``;`` or ``{`` (but ``${`` does not end it). Quotes count at the beginning of a word only. A
backslash takes the meaning from a quote, a space or itself; ``\t``, ``\r`` and ``\n`` are control characters; before
anything else it stays.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING

from buchner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPACE = " \t\r\n"
_SKIP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_PLAIN = re.compile(r"[^ \t\r\n;{}\"'\\$#][^ \t\r\n;{\\$]*(?=[ \t\r\n;{])")
_CONTROL = {"t": "\t", "r": "\r", "n": "\n"}


class Source:
    """A file, kept to show its lines in messages.

    Args:
        name: its name.
        text: its text.
    """

    __slots__ = ("_starts", "name", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self._starts: list[int] | None = None

    def position(self, offset: int) -> tuple[int, int]:
        """Return the line and the column, both from 1, of an offset."""
        if self._starts is None:
            self._starts = [0, *(found.end() for found in re.finditer("\n", self.text))]
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, offset: int) -> str:
        """Return the line an offset stands in."""
        begin = self.text.rfind("\n", 0, offset) + 1
        end = self.text.find("\n", offset)
        return self.text[begin : len(self.text) if end < 0 else end].rstrip("\r")


class Token:
    """A word or one of ``;``, ``{``, ``}``.

    Args:
        text: the word without quotes and escapes.
        mark: it is one of the three marks, not a word that looks like it.
        source: the file.
        start: offset in the file's text.
        end: offset behind it.
    """

    __slots__ = ("end", "mark", "source", "start", "text")

    def __init__(self, text: str, mark: bool, source: Source, start: int, end: int) -> None:
        self.text = text
        self.mark = mark
        self.source = source
        self.start = start
        self.end = end

    @property
    def line(self) -> int:
        """Line in the file, from 1."""
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        """Column in characters, from 1."""
        return self.source.position(self.start)[1]

    def problem(self, message: str, where: str = "") -> Problem:
        """Return a problem at this place."""
        line, column = self.source.position(self.start)
        width = len(self.source.text[self.start : self.end].split("\n", 1)[0])
        return Problem(message, where, self.source.name, line, column, self.source.line(self.start), width)


class LexError(Exception):
    """The text cannot be cut into words any further."""

    def __init__(self, token: Token, message: str) -> None:
        super().__init__(message)
        self.problem = token.problem(message)


def tokens(source: Source) -> Iterator[Token]:
    """Yield the tokens of a file.

    Raises:
        LexError: a quote is not closed, or something follows one.

    """
    text, length = source.text, len(source.text)
    skip, plain = _SKIP.match, _PLAIN.match
    place = 0
    while True:
        gap = skip(text, place)
        place = gap.end() if gap else place
        if place >= length:
            return
        character = text[place]
        if character in ";{}":
            yield Token(character, True, source, place, place + 1)
            place += 1
            continue
        found = plain(text, place)
        if found:
            word, end = found[0], found.end()
        else:
            word, end = _quoted(source, place) if character in "\"'" else _plain(text, place)
        yield Token(word, False, source, place, end)
        place = end


def _plain(text: str, place: int) -> tuple[str, int]:
    word: list[str] = []
    while place < len(text):
        character = text[place]
        if character == "\\" and place + 1 < len(text):
            word.append(_escape(text[place + 1], plain=True))
            place += 2
        elif character == "$" and text[place + 1 : place + 2] == "{":
            word.append("${")
            place += 2
        elif character in _SPACE or character in ";{":
            break
        else:
            word.append(character)
            place += 1
    return "".join(word), place


def _quoted(source: Source, begin: int) -> tuple[str, int]:
    text, quote, place = source.text, source.text[begin], begin + 1
    here = Token(quote, False, source, begin, begin + 1)
    word: list[str] = []
    while place < len(text) and text[place] != quote:
        if text[place] == "\\" and place + 1 < len(text):
            word.append(_escape(text[place + 1], plain=False))
            place += 2
        else:
            word.append(text[place])
            place += 1
    if place >= len(text):
        raise LexError(here, f"this {quote} is not closed")
    place += 1
    if place < len(text) and text[place] not in _SPACE and text[place] not in ";{)":
        raise LexError(here, f'unexpected "{text[place]}" behind the closing {quote}')
    return "".join(word), place


def _escape(character: str, *, plain: bool) -> str:
    if character in "\"'\\" or (plain and character in " ;{"):
        return character
    return _CONTROL.get(character, "\\" + character)
