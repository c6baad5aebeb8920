"""What `buchner cert list` shows: the certificates of a storage, and how they are."""

from __future__ import annotations

from dataclasses import dataclass

from buchner.certificates.authority import ROOT
from buchner.certificates.making import DAY
from buchner.certificates.pem import Pair
from buchner.certificates.state import Stage
from buchner.certificates.storage import Storage
from buchner.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Row:
    """A certificate.

    Args:
        name: What it is called.
        names: What it is for.
        issuer: Who issued it; empty if there is none yet.
        days_left: Until it ends; None if there is none yet.
        stage: What is being done for it.
        next_try: Unix time of its renewal or the next attempt; 0: none.
        failures: Attempts that failed in a row.
        last_error: Why the last attempt failed; empty if it did not.
    """

    name: str
    names: list[str]
    issuer: str
    days_left: float | None
    stage: str
    next_try: float
    failures: int
    last_error: str


def rows(storage: Storage, now: float) -> list[Row]:
    """The certificates of a storage, in order.

    Args:
        storage: Which.
        now: Unix time.
    """
    return [_row(storage, file, now) for file in storage.names() if file != ROOT]


def _row(storage: Storage, file: str, now: float) -> Row:
    state, error = storage.state(file), ""
    pair: Pair | None = None
    try:
        pair = storage.read(file)
    except ConfigError as damaged:
        error = str(damaged)
    names = state.names or list(pair.names if pair else ())
    return Row(
        name=names[0] if names else file,
        names=names,
        issuer=pair.issuer if pair else "",
        days_left=(pair.not_after - now) / DAY if pair else None,
        stage=Stage.FIXED if state.imported or (pair and not state.authority) else state.stage,
        next_try=0.0 if state.imported else state.next_try,
        failures=state.failures,
        last_error=error or state.last_error,
    )
