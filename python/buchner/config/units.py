"""Times and sizes as people write them."""

from __future__ import annotations

import re

_TIME_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_SIZE_UNITS = {"": 1, "b": 1, "k": 1 << 10, "kb": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "g": 1 << 30, "gb": 1 << 30}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|[smhdwMy]|)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?b?)", re.IGNORECASE)
_MAX_MS = 1 << 53  # integers above it do not survive every JSON reader


def milliseconds(value: float | str) -> int:
    """Read a time of gateway.toml.

    Args:
        value: seconds as a number, or a string of numbers with units: ``"500ms"``, ``"1h30m"``, ``"30"`` (seconds).

    Returns:
        Milliseconds.

    Raises:
        ValueError: it is not a time; the message says what is.

    """
    if isinstance(value, str):
        return _text_time(value, _TIME_UNITS, 1000)
    if not 0 <= value <= _MAX_MS / 1000:
        raise ValueError(f"{value} is not a time: seconds from 0 are")
    return round(value * 1000)


def _text_time(text: str, units: dict[str, int], bare: int) -> int:
    total = 0.0
    position = 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None or (part[2] and part[2] not in units):
            break
        total += float(part[1]) * (units[part[2]] if part[2] else bare)
        position = part.end()
    if not text.strip() or text[position:].strip() or total > _MAX_MS:
        known = ", ".join(units)
        raise ValueError(f'"{text}" is not a time: a number with one of {known} is, such as "30s"')
    return round(total)


def size(value: float | str) -> int:
    """Read a number of bytes.

    Args:
        value: bytes as a number, or a string with ``k``, ``m`` or ``g`` (powers of 1024): ``"64k"``.

    Returns:
        Bytes.

    Raises:
        ValueError: it is not a size; the message says what is.

    """
    if isinstance(value, str):
        found = _SIZE.fullmatch(value.strip())
        if found is None:
            raise ValueError(f'"{value}" is not a size: a number of bytes or one with k, m or g is, such as "64k"')
        return int(float(found[1]) * _SIZE_UNITS[found[2].lower()])
    if value < 0 or value != int(value):
        raise ValueError(f"{value} is not a size: a whole number of bytes is")
    return int(value)
