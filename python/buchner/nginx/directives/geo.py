"""ngx_http_geo_module: variables whose value depends on an address."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.nginx.directives.map import forget, variable
from buchner.nginx.rows import HTTP, supported, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buchner.config.places import Path
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_geo_module"
_BLOCK = 16
_Piece = tuple[int, int, str]
"""First and last address, and the value."""
_FLAGS = ("ranges", "proxy_recursive", "volatile")


def _geo(scope: Scope, directive: Directive) -> None:
    name = variable(scope, directive.args[-1])
    if name is None:
        return
    document = scope.state.document
    if document.geo is UNSET:
        document.geo = {}
    forget(scope, directive.args[-1])
    table = document.geo[name] = gen.Geo(networks={})
    path: Path = ("geo", name)
    scope.state.places[path] = directive.args[-1]
    if len(directive.args) > 1:
        table.source = directive.words[0]
        scope.state.places[(*path, "source")] = directive.args[0]
    entries = directive.block or []
    ranges = any(entry.name == "ranges" for entry in entries)
    for entry in entries:
        _entry(scope, entry, table, path, ranges=ranges)
    if ranges and any(entry.name == "delete" for entry in entries):
        table.networks = _cut(scope, entries)


def _entry(scope: Scope, entry: Directive, table: gen.Geo, path: Path, *, ranges: bool) -> None:
    word = entry.name
    if not entry.args and word in _FLAGS:
        if word != "ranges":
            setattr(table, word, True)
        return
    if len(entry.args) != 1:
        scope.error(entry.token, f'"{word}" of "geo" takes one value behind it')
        return
    value, token = entry.words[0], entry.args[0]
    networks = {} if table.networks is UNSET else table.networks
    table.networks = networks
    if word == "default":
        table.default = value
    elif word == "proxy":
        table.proxies = [*([] if table.proxies is UNSET else table.proxies), value]
        scope.state.places[(*path, "proxies", len(table.proxies) - 1)] = token
    elif word == "delete" and ranges:
        pass  # of ranges, parts can be deleted: see _cut
    elif word == "delete":
        if networks.pop(_normal(value), None) is None:
            scope.warn(token, f'there is no network "{value}" to delete')
    elif ranges != ("-" in word):
        wanted = "a range like 10.0.0.1-10.0.0.9" if ranges else 'a network (or the file says "ranges;" first)'
        scope.error(entry.token, f'"{word}" is not {wanted}')
    else:
        network = _normal(word)
        if networks.pop(network, None) is not None:
            scope.warn(entry.token, f'"{word}" stands in this block already; this one holds')
        networks[network] = value
        scope.state.places[(*path, "networks", network)] = entry.token


def _cut(scope: Scope, entries: list[Directive]) -> dict[str, str]:
    """Return the ranges of a block with ``delete``, as they lie side by side at the end.

    To nginx, ranges lie in pieces of 65,536 addresses; one that is put into another divides it, and ``delete`` takes
    out the pieces that have just its ends.
    """
    blocks: dict[int, list[_Piece]] = {}
    for entry in entries:
        value = entry.words[0] if len(entry.args) == 1 else None
        text = value if entry.name == "delete" else entry.name
        bounds = None if value is None or text is None else _bounds(text)
        if value is None or bounds is None:
            continue
        missing = False
        for block in range(bounds[0] >> _BLOCK, (bounds[1] >> _BLOCK) + 1):
            first = max(bounds[0], block << _BLOCK)
            last = min(bounds[1], ((block + 1) << _BLOCK) - 1)
            pieces = blocks.setdefault(block, [])
            if entry.name == "delete":
                left = [piece for piece in pieces if piece[:2] != (first, last)]
                missing = missing or len(left) == len(pieces)
            else:
                left = [*_around(pieces, first, last), (first, last, value)]
            blocks[block] = sorted(left)
        if missing:
            scope.warn(entry.args[0], f'there is no range "{text}" to delete')
    joined: list[_Piece] = []
    for first, last, value in (piece for block in sorted(blocks) for piece in blocks[block]):
        if joined and joined[-1][1] + 1 == first and joined[-1][2] == value:
            joined[-1] = (joined[-1][0], last, value)
        else:
            joined.append((first, last, value))
    return {f"{ipaddress.IPv4Address(first)}-{ipaddress.IPv4Address(last)}": value for first, last, value in joined}


def _around(pieces: list[_Piece], first: int, last: int) -> Iterator[_Piece]:
    """Yield what is left of some pieces when the addresses from `first` to `last` are taken out."""
    for start, end, value in pieces:
        if start < first:
            yield start, min(end, first - 1), value
        if end > last:
            yield max(start, last + 1), end, value


def _bounds(text: str) -> tuple[int, int] | None:
    """Return the ends of a range of IPv4 addresses; None for what is none."""
    try:
        first, last = (int(ipaddress.IPv4Address(end.strip())) for end in text.split("-", 1))
    except ValueError:
        return None
    return (first, last) if first <= last else None


def _normal(text: str) -> str:
    """Return a network in its normal form; what is none is reported later."""
    try:
        return text if "-" in text else str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return text


DIRECTIVES = [supported("geo", HTTP, words(1, 2), _geo, "[geo.NAME]", repeat=True, block=True)]
