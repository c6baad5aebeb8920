"""Why a request was blocked, in words."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from buchner.waf.exclusion import Exclusion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buchner.waf.judgement import Match
    from buchner.waf.record import Record

_AROUND = 40
FIRST_ID = 10_001
"""Ids from 1 to 99,999 are for local use."""


def printable(text: str) -> str:
    """A text from a client as a terminal may see it: control characters are escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def excerpt(match: Match) -> str:
    """The value with the part that matched between » and «, and some text around it."""
    value, part = match.value, match.part
    if not part or (at := value.find(part)) < 0:
        shown = printable(value[: 3 * _AROUND])
        more = "…" if len(value) > 3 * _AROUND else ""
        return f"{shown}{more}" + (f"   matched: »{printable(part[: 3 * _AROUND])}«" if part else "")
    end = at + len(part)
    before, after = value[max(0, at - _AROUND) : at], value[end : end + _AROUND]
    first, last = "…" if at > _AROUND else "", "…" if end + _AROUND < len(value) else ""
    return f"{first}{printable(before)}»{printable(part[: 3 * _AROUND])}«{printable(after)}{last}"


def verdict(record: Record) -> str:
    """What became of the request."""
    if record.blocked:
        return f"blocked with {record.status}"
    if record.would_block:
        return "not blocked: mode detect; in mode block it would be"
    return "not blocked"


def _indented(exclusion: Exclusion, number: int) -> str:
    return exclusion.text(number).replace("\n", "\n    ")


def explain(record: Record) -> Iterator[str]:
    """The lines."""
    moment = datetime.fromtimestamp(record.time).astimezone().strftime("%Y-%m-%d %H:%M:%S%z") if record.time else "-"
    yield f"{record.id}  {moment}  {printable(record.client)}"
    yield f"{printable(record.method)} {printable(record.host)}{printable(record.path)}: {verdict(record)}"
    scores = record.scores
    yield f"score {scores.inbound}" + (f" of {scores.inbound_threshold}" if scores.inbound_threshold else "")
    if scores.outbound:
        yield f"score of the response {scores.outbound} of {scores.outbound_threshold}"
    number = FIRST_ID
    for match in record.counted:
        yield ""
        points = f", {match.points} points" if match.points else ""
        message = printable(match.message) or "(no message)"
        yield f"rule {match.rule}: {message} ({match.severity or 'no severity'}{points})"
        if match.file:
            yield f"  in {match.file}:{match.line}"
        if match.variable:
            yield f"  {printable(match.variable)} = {excerpt(match)}"
        elif match.data:
            yield f"  {printable(match.data)}"
        here, everywhere = Exclusion.of(match, record.path), Exclusion.of(match)
        if here.scoped:
            yield f"  to exclude it on this path, in a file before the Core Rule Set:\n    {_indented(here, number)}"
            number += 1
        what = "to exclude it everywhere" if everywhere.target else "to switch the rule off"
        yield f"  {what}, in a file after the Core Rule Set:\n    {_indented(everywhere, number)}"
    if not record.counted:
        yield "no rule added to the score"
