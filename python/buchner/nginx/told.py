"""Which of the problems of a file are told: not those that only follow from another."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from buchner.nginx.lexer import Token, tokens

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buchner.errors import Problem
    from buchner.nginx.lexer import Source

_MARKS = re.compile(r"\{\{.*?\}\}|\{%.*?%\}")
_PLACEHOLDER = re.compile(r"\$\{[A-Z][A-Z0-9_]*\}")
_COMMENT = re.compile(r"^\s*#")
_MISSING = re.compile(
    r"unknown (?:variable|log format|upstream) |this server has no route |\"[^\"]*\" is defined nowhere"
)


def told(problems: list[Problem], sources: Iterable[Source], unread: list[Problem]) -> list[Problem]:
    """Return the problems that are worth telling.

    Args:
        problems: all that were found.
        sources: the files that were read.
        unread: those of `problems` about files that cannot be read.

    """
    sources = list(sources)
    for source in sources:
        found = _template(source) if any(problem.file == source.name for problem in problems) else None
        if found is not None:
            return [found]
    for source in sources:
        lines = {source.position(mark.start())[0] for mark in _PLACEHOLDER.finditer(source.text)}
        kept = [problem for problem in problems if problem.file != source.name or problem.line not in lines]
        found = _first(source, _PLACEHOLDER) if len(kept) < len(problems) else None
        if found is not None:
            problems = [found, *kept]
    if not unread:
        return problems
    others = [problem for problem in problems if not _MISSING.match(problem.message)]
    left_out = len(problems) - len(others)
    if not left_out:
        return problems
    names = f"{left_out} name{'' if left_out == 1 else 's'} that nothing else defines may be in there"
    return [replace(one, message=f"{one.message}; {names}") if one == unread[0] else one for one in others]


def _template(source: Source) -> Problem | None:
    """Return the problem of the first `{{ }}` or `{% %}` that stands neither in quotes nor in a comment."""
    before: Token | None = None
    for token in tokens(source, []):
        if before is not None and token.start == before.end and token.text[0] in "{%":
            mark = _MARKS.match(source.text, before.start)
            if mark is not None:
                return _unfilled(source, mark)
        before = token if token.mark and token.text == "{" else None
    return None


def _first(source: Source, pattern: re.Pattern[str]) -> Problem | None:
    """Return the problem of the first mark outside of comments."""
    marks = pattern.finditer(source.text)
    return next((_unfilled(source, mark) for mark in marks if not _COMMENT.match(source.line(mark.start()))), None)


def _unfilled(source: Source, mark: re.Match[str]) -> Problem:
    token = Token(mark[0], False, source, mark.start(), mark.end())
    return token.problem(f'"{mark[0]}": this looks like a template that is not filled in')
