r"""Words, ``;``, ``{`` and ``}`` of nginx.conf, by the rules of ``ngx_conf_read_token``.

A word ends at a space, ``;`` or ``{`` (but ``${`` does not end it); ``}`` and ``#`` are marks only where a word could
begin. Quotes count at the beginning of a word only, and a word in quotes must be followed by what ends a word, or by
``)``, which begins the next. A backslash takes the special meaning from the character behind it; ``\"``, ``\'`` and
``\\`` lose it, ``\t``, ``\r`` and ``\n`` are control characters, and before anything else it stays.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from buchner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_SKIP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_PLAIN = re.compile(r"[^ \t\r\n;{}\"'\\$#][^ \t\r\n;{\\$]*(?=[ \t\r\n;{])")
_BARE = re.compile(r"(?:\\.?|\$\{*|[^ \t\r\n;{\\$])+", re.DOTALL)
_QUOTED = {quote: re.compile(rf"{quote}(?:\\.|[^\\{quote}])*", re.DOTALL) for quote in "\"'"}
_ESCAPE = re.compile(r"\\([\"'\\trn])")
_COMMENT = re.compile(r"#([^\n]*)")
_CONTROL = {"t": "\t", "r": "\r", "n": "\n"}
_ENDS = " \t\r\n;{)"
_LINE_SHOWN = 300


class Source:
    """A file, kept to show its lines in messages.

    Args:
        name: its name.
        text: its text; bytes that are not UTF-8 are surrogates.
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
        shown = self.source.line(self.start)
        if len(shown) > _LINE_SHOWN and column < _LINE_SHOWN:
            shown = shown[:_LINE_SHOWN] + " …"
        return Problem(clean(message), where, self.source.name, line, column, clean(shown), width)


def clean(text: str) -> str:
    """Return a text that can be printed: bytes that are not UTF-8 are replaced."""
    return text if text.isascii() else text.encode(errors="surrogateescape").decode(errors="replace")


def tokens(source: Source, problems: list[Problem]) -> Iterator[Token]:
    """Yield the tokens of a file.

    Args:
        source: the file.
        problems: takes what is wrong with it; behind a quote that is not closed nothing can be read.

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
        elif character in "\"'":
            word, end = _quoted(source, place, problems)
            if end > length:
                return
        else:
            word, end = _bare(text, place)
        yield Token(word, False, source, place, end)
        place = end


def _bare(text: str, place: int) -> tuple[str, int]:
    found = _BARE.match(text, place)
    end = found.end() if found else place + 1
    return _unescaped(text[place:end]), end


def _quoted(source: Source, begin: int, problems: list[Problem]) -> tuple[str, int]:
    """Return the word in quotes and the offset behind them, which is behind the text where they are not closed."""
    text, quote = source.text, source.text[begin]
    here = Token(quote, False, source, begin, begin + 1)
    found = _QUOTED[quote].match(text, begin)
    end = found.end() if found else begin + 1
    if text[end : end + 1] != quote:
        problems.append(here.problem(f"this {quote} is not closed: the file ends before another one"))
        return "", len(text) + 1
    behind = text[end + 1 : end + 2]
    if behind and behind not in _ENDS:
        place = Token(behind, False, source, end + 1, end + 2)
        problems.append(
            place.problem(f'unexpected "{behind}" behind the closing {quote}: a space or ";" belongs there')
        )
    return _unescaped(text[begin + 1 : end]), end + 1


def _unescaped(word: str) -> str:
    if "\\" not in word:
        return word
    return _ESCAPE.sub(lambda found: _CONTROL.get(found[1], found[1]), word)


class Remark(NamedTuple):
    """Comment lines that stand together.

    Args:
        start: offset of the first ``#``.
        trailing: a word or mark stands before it on its line.
        lines: the text behind each ``#``.
    """

    start: int
    trailing: bool
    lines: list[str]


def remarks(source: Source) -> Iterator[Remark]:
    """Yield the comments of a file; those between two tokens are one, but for the one that stands behind a token."""
    end = 0
    last = Token("", True, source, len(source.text), len(source.text))
    for token in [*tokens(source, []), last]:
        found = list(_COMMENT.finditer(source.text, end, token.start))
        if found and end and "\n" not in source.text[end : found[0].start()]:
            first = found.pop(0)
            yield Remark(first.start(), True, [clean(first[1].rstrip())])
        if found:
            yield Remark(found[0].start(), False, [clean(comment[1].rstrip()) for comment in found])
        end = token.end
