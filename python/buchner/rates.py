"""Rates as people write them: `10r/s`, `5/minute`, `100 per 2 hours`."""

from __future__ import annotations

import re
from typing import NamedTuple

_NGINX = re.compile(r"(\d+)(r/s|r/m|)", re.ASCII)
_WORDS = re.compile(r"(\d+)\s*(?:/|\s+per\s+)\s*(?:(\d+)\s*)?([a-z]+)", re.ASCII | re.IGNORECASE)
_UNITS = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86_400,
    "month": 30 * 86_400,
    "year": 360 * 86_400,
    "s": 1,
    "sec": 1,
    "m": 60,
    "min": 60,
    "h": 3600,
    "d": 86_400,
}
_MOST = 1 << 32


class Rate(NamedTuple):
    """Requests in a span of time.

    Args:
        milli: thousandths of requests in `period`.
        period: seconds.
    """

    milli: int
    period: int

    @property
    def requests(self) -> int:
        """Requests in the period."""
        return self.milli // 1000


def rate(text: str) -> Rate:
    """Read a rate.

    `10r/s` and `10r/m` are rounded down to thousandths of requests a second, as nginx does.

    Raises:
        ValueError: it is none; the message says what is.

    """
    plain = text.strip()
    found = _NGINX.fullmatch(plain)
    if found and 0 < int(found[1]) < _MOST:
        milli = int(found[1]) * 1000 // (60 if found[2] == "r/m" else 1)
        return Rate(milli, 1)
    found = _WORDS.fullmatch(plain)
    if found:
        unit = found[3].lower()
        seconds = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s"))
        count, several = int(found[1]), int(found[2] or 1)
        if seconds and 0 < count < _MOST and 0 < several < _MOST:
            return Rate(count * 1000, seconds * several)
    raise ValueError(f'"{text}" is not a rate: "10r/s", "5/minute" and "100 per 2 hours" are')
