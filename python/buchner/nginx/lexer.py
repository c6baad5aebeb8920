r"""Words, ``;``, ``{`` and ``}`` of nginx.conf, by the rules of ``ngx_conf_read_token``.

A word ends at a space, ``;`` or ``{`` (but ``${`` does not end it). Quotes count at the beginning of a word only. A
backslash takes the meaning from a quote, a space or itself; ``\t``, ``\r`` and ``\n`` are control characters; before
anything else it stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from buchner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPACE = " \t\r\n"
_CONTROL = {"t": "\t", "r": "\r", "n": "\n"}


@dataclass(slots=True)
class Source:
    """A file, kept to show its lines in messages."""

    name: str
    text: str
    lines: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = self.text.split("\n")


@dataclass(frozen=True, slots=True)
class Token:
    """A word or one of ``;``, ``{``, ``}``.

    Args:
        text: the word without quotes and escapes.
        mark: it is one of the three marks, not a word that looks like it.
        source: the file.
        line: from 1.
        column: in characters, from 1.
        width: characters it takes in the file, on its first line.
    """

    text: str
    mark: bool
    source: Source
    line: int
    column: int
    width: int

    def problem(self, message: str, where: str = "") -> Problem:
        """Return a problem at this place."""
        source = self.source.lines[self.line - 1].rstrip("\r") if self.line <= len(self.source.lines) else ""
        return Problem(message, where, self.source.name, self.line, self.column, source, self.width)


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
    text, place, line, start = source.text, 0, 1, 0
    while place < len(text):
        character = text[place]
        if character in _SPACE:
            place += 1
            if character == "\n":
                line, start = line + 1, place
        elif character == "#":
            end = text.find("\n", place)
            place = len(text) if end < 0 else end
        elif character in ";{}":
            yield Token(character, True, source, line, place - start + 1, 1)
            place += 1
        else:
            word, end = _quoted(source, place, line, start) if character in "\"'" else _plain(text, place)
            raw = text[place:end]
            width = len(raw.split("\n", 1)[0])
            yield Token(word, False, source, line, place - start + 1, width)
            breaks = raw.count("\n")
            if breaks:
                line, start = line + breaks, place + raw.rindex("\n") + 1
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


def _quoted(source: Source, begin: int, line: int, start: int) -> tuple[str, int]:
    text, quote, place = source.text, source.text[begin], begin + 1
    here = Token(quote, False, source, line, begin - start + 1, 1)
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
