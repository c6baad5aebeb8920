"""What a worker has from the supervisor and only some apps use: nothing is imported for it until then."""

from __future__ import annotations

import os


class Inherited:
    """Descriptors of this worker; -1 in a process that is none.

    Args:
        counts: the table of `buchner.counts`.
    """

    def __init__(self, counts: int = -1) -> None:
        self.counts = counts


INHERITED = Inherited()


def keep(counts: int) -> None:
    """Keep the descriptors for the app; programs that it starts don't get them."""
    if counts >= 0:
        os.set_inheritable(counts, False)
        INHERITED.counts = counts
