"""Times and sizes of nginx.conf, by the rules of ``ngx_parse_time`` and ``ngx_parse_size``."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+)([kKmMgG]?)", re.ASCII)
_SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_PART = re.compile(r"(\d*)(ms|[yMwdhms ])[ ]*", re.ASCII)
_ORDER = ("y", "M", "w", "d", "h", "m", "s", "ms")
_MILLISECONDS = {
    "y": 365 * 86_400_000,
    "M": 30 * 86_400_000,
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_MAX = (1 << 53) - 1  # integers above it do not survive every JSON reader


def milliseconds(text: str, *, seconds: bool = False) -> int:
    """Read a time.

    Args:
        text: parts with units, each unit smaller than the one before it: ``60``, ``60s``, ``1h 30m``, ``1d12h``.
        seconds: the directive counts in seconds: it knows ``M`` (30 days) and ``y`` (365 days), but not ``ms``.

    Returns:
        Milliseconds.

    Raises:
        ValueError: it is no time; the message says what is.

    """
    total, place, step = 0, 0, -1 if seconds else _ORDER.index("M")
    while found := _PART.match(text, place):
        number, unit = found.groups()
        # a space behind a bare number ends the seconds, and only a bare number can follow it
        rank = len(_ORDER) if unit == " " else _ORDER.index(unit)
        if rank <= step or (unit == " " and step >= _ORDER.index("s")) or (unit == "ms" and seconds):
            break
        step = rank
        total += int(number or 0) * _MILLISECONDS["s" if unit == " " else unit]
        place = found.end()
    rest = text[place:]
    known = "y, M, w, d, h, m and s" if seconds else "w, d, h, m, s and ms"
    if not any(character.isdecimal() for character in text) or (rest and not (rest.isascii() and rest.isdecimal())):
        raise ValueError(
            f'"{text}" is not a time: numbers with {known}, from the largest to the smallest, are, such as "30s"'
        )
    total += int(rest or 0) * 1000
    if total > _MAX:
        raise ValueError(f'"{text}" is too long a time')
    return total


def size(text: str, *, giga: bool = False) -> int:
    """Read a number of bytes.

    Args:
        text: a number, or one with ``k`` or ``m`` (powers of 1024).
        giga: ``g`` is allowed as well; nginx allows it only where a size may be that of a file.

    Returns:
        Bytes.

    Raises:
        ValueError: it is no size; the message says what is.

    """
    found = _SIZE.fullmatch(text)
    if found is None or (found[2] in ("g", "G") and not giga):
        known = "k, m or g" if giga else "k or m"
        raise ValueError(f'"{text}" is not a size: a number of bytes or one with {known} is, such as "64k"')
    value = int(found[1]) * _SIZE_UNITS[found[2].lower()]
    if value > _MAX:
        raise ValueError(f'"{text}" is too large')
    return value


def number(text: str) -> int:
    """Read a whole number from 0.

    Raises:
        ValueError: it is none.

    """
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f'"{text}" is not a whole number')
    return int(text)


def flag(text: str) -> bool:
    """Read ``on`` or ``off``.

    Raises:
        ValueError: it is neither.

    """
    lower = text.lower()
    if lower not in ("on", "off"):
        raise ValueError(f'"{text}" is neither "on" nor "off"')
    return lower == "on"
