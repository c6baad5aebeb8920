"""What becomes of each directive of a file: the report of `buchner check nginx.conf`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from buchner.nginx.rows import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buchner.nginx.scope import Verdict

_ORDER = (Status.REFUSED, Status.NO_EFFECT, Status.SUPPORTED)
_PLACES = 3


def summary(verdicts: list[Verdict]) -> str:
    """Return the report in one line: how many directives, and how many of each kind."""
    found = counts(verdicts)
    shown = [f"{found[status.name.lower()]} {status.value}" for status in Status]
    return f"{len(verdicts)} directives: {', '.join(shown)}"


def counts(verdicts: list[Verdict]) -> dict[str, int]:
    """Return how many directives there are of each kind."""
    return {status.name.lower(): sum(verdict.status is status for verdict in verdicts) for status in Status}


def lines(verdicts: list[Verdict], main: str) -> Iterable[str]:
    """Yield the report for people: a line per directive and kind, what needs a look first.

    Args:
        verdicts: what became of each directive.
        main: name of the main file, whose places are shown without it.

    """
    for status in _ORDER:
        groups: dict[tuple[str, str], list[Verdict]] = {}
        for verdict in verdicts:
            if verdict.status is status:
                groups.setdefault((verdict.token.text, verdict.note), []).append(verdict)
        if groups:
            yield f"{status.value}:"
        for (name, note), found in groups.items():
            times = f" ×{len(found)}" if len(found) > 1 else ""
            yield f"  {name}{times} ({_places(found, main)}): {note}"


def _places(verdicts: list[Verdict], main: str) -> str:
    shown = []
    for verdict in verdicts[:_PLACES]:
        source = verdict.token.source.name
        shown.append(f"line {verdict.token.line}" if source == main else f"{source}:{verdict.token.line}")
    return ", ".join(shown) + (", …" if len(verdicts) > _PLACES else "")


def as_json(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    """Return the report for programs: every directive with its place."""
    return [
        {
            "directive": verdict.token.text,
            "file": verdict.token.source.name,
            "line": verdict.token.line,
            "column": verdict.token.column,
            "status": verdict.status.name.lower(),
            "note": verdict.note,
        }
        for verdict in verdicts
    ]
