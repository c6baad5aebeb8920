"""A document as the text of a gateway.toml: what `buchner convert` prints."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.config.table import Table, names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from buchner.config.places import Path

_WIDTH = 120
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SIZES = ((1 << 30, "g"), (1 << 20, "m"), (1 << 10, "k"))
_TABLES = ("server", "route")
"""Settings that are written as `[[server]]` and `[[server.route]]`."""
_GROUPS = (
    "app",
    "apps",
    "gateway",
    "upstream",
    "map",
    "geo",
    "geoip",
    "split_clients",
    "limits",
    "limit_req_zone",
    "limit_conn_zone",
)
"""Settings of the root that are written as tables with a header of their own; servers come behind them."""
_ORDER = ("", *_GROUPS, *_TABLES)


class Emitter:
    """Writes one document.

    Args:
        remarks: takes the comment lines that belong before a setting; with True also those of what is in it.
    """

    def __init__(self, remarks: Callable[[Path, bool], list[str]] = lambda _path, _deep: []) -> None:
        self._remarks = remarks
        self._lines: list[str] = []

    def text(self, document: gen.Document) -> str:
        """Return the text of a document."""
        self._lines = []
        self._table(document, (), "")
        return "\n".join(self._lines).strip("\n") + "\n"

    def _table(self, table: Table, path: Path, header: str) -> None:
        """Write the settings of a table, those that need headers of their own last."""
        later: list[tuple[str, Any]] = []
        for name, value in written(table):
            if (name in _TABLES and value and isinstance(value, list)) or (not path and name in _GROUPS):
                later.append((name, value))
                continue
            line = f"{name} = {_value(name, value)}"
            if len(line) > _WIDTH and isinstance(value, Table | dict) and value:
                later.append((name, value))
                continue
            if isinstance(value, list) and (len(line) > _WIDTH or not _is_plain(value)):
                line = f"{name} = {_lines(name, value, '')}"
            self._lines += [*self._remarks((*path, name), True), line]
        for name, value in sorted(later, key=lambda entry: _ORDER.index(entry[0]) if entry[0] in _ORDER else 0):
            self._group(name, value, (*path, name), f"{header}.{name}" if header else name)

    def _group(self, name: str, value: Any, path: Path, header: str) -> None:
        if name in _TABLES and isinstance(value, list):
            for index, element in enumerate(value):
                self._begin(f"[[{header}]]", (*path, index))
                self._table(element, (*path, index), header)
        elif isinstance(value, Table):
            self._begin(f"[{header}]", path)
            self._table(value, path, header)
        elif isinstance(value, dict) and any(isinstance(inner, Table) for inner in value.values()):
            for key, inner in value.items():
                self._group("", inner, (*path, key), f"{header}.{_key(key)}")
        elif isinstance(value, dict):
            self._begin(f"[{header}]", path)
            for key, inner in value.items():
                self._lines += [*self._remarks((*path, key), True), f"{_key(key)} = {_value('', inner)}"]
        else:
            self._lines += [*self._remarks(path, True), f"{name} = {_value(name, value)}"]

    def _begin(self, header: str, path: Path) -> None:
        self._lines += ["", *self._remarks(path, False), header]


def written(table: Table) -> Iterator[tuple[str, Any]]:
    """Yield the settings that are written in a table, under the names they have in TOML."""
    encoded = {field.name: field.encode_name for field in msgspec.structs.fields(table)}
    for name in names_of(type(table)):
        value = getattr(table, name)
        if value is not UNSET:
            yield encoded[name], value


def _is_plain(value: list[Any]) -> bool:
    """Whether the elements of a list are texts and numbers."""
    return not any(isinstance(element, Table | list | dict) for element in value)


def _lines(name: str, value: list[Any], indent: str) -> str:
    """Write a list with a line for each element."""
    inner = "".join(f"{indent}  {_value(name, element, indent + '  ')},\n" for element in value)
    return f"[\n{inner}{indent}]"


def _value(name: str, value: Any, indent: str = "") -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _number(name, value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        if not _is_plain(value):
            return _lines(name, value, indent)
        return "[" + ", ".join(_value(name, element) for element in value) + "]"
    pairs = written(value) if isinstance(value, Table) else value.items()
    inner = ", ".join(f"{_key(key)} = {_value(key, element, indent)}" for key, element in pairs)
    return f"{{ {inner} }}" if inner else "{}"


def _number(name: str, value: float) -> str:
    kind = gen.UNITS.get(name)
    if kind == "size":
        for unit, letter in _SIZES:
            if value and value % unit == 0:
                return f'"{int(value) // unit}{letter}"'
    if value == int(value):
        return str(int(value))
    return f'"{round(value * 1000)}ms"' if kind == "time" else repr(value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else quoted(name)


def quoted(text: str) -> str:
    """Return a text as a basic string of TOML."""
    # JSON escapes what TOML needs escaped, but for DEL
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
