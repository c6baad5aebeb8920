"""Did you mean …?"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHORT = 5
_MEDIUM = 9


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` is most likely a slip of, or None if none is a few letters away."""
    by_fold = {candidate.lower(): candidate for candidate in known}
    folded = name.lower()
    letters = len(folded.lstrip("$"))
    most = 1 if letters <= _SHORT else 2 if letters <= _MEDIUM else 3
    candidates = difflib.get_close_matches(folded, by_fold, n=3, cutoff=0.6)
    distance, nearest = min(
        ((_distance(folded, candidate), candidate) for candidate in candidates), default=(most, None)
    )
    return by_fold[nearest] if nearest is not None and distance <= most else None


def _distance(one: str, other: str) -> int:
    """Return how many letters are missing, too many, wrong or swapped with their neighbour."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        above, row = row, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before = above
    return row[-1]


def hint(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean "x"?)`` for the end of a message, or an empty string."""
    found = closest(name, known)
    return f' (did you mean "{found}"?)' if found else ""
