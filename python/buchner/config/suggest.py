"""Did you mean …?"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` is most likely a slip of, or None."""
    by_fold = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), by_fold, n=1, cutoff=0.6)
    return by_fold[found[0]] if found else None


def hint(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean "x"?)`` for the end of a message, or an empty string."""
    found = closest(name, known)
    return f' (did you mean "{found}"?)' if found else ""
