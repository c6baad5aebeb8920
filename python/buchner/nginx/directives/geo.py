"""ngx_http_geo_module: variables whose value depends on an address."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.nginx.directives.map import forget, variable
from buchner.nginx.rows import HTTP, supported, words

if TYPE_CHECKING:
    from buchner.config.places import Path
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_geo_module"
_FLAGS = ("ranges", "proxy_recursive")


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
    ranges = any(entry.name == "ranges" for entry in directive.block or [])
    for entry in directive.block or []:
        _entry(scope, entry, table, path, ranges=ranges)


def _entry(scope: Scope, entry: Directive, table: gen.Geo, path: Path, *, ranges: bool) -> None:
    word = entry.name
    if not entry.args and word in _FLAGS:
        if word == "proxy_recursive":
            table.proxy_recursive = True
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


def _normal(text: str) -> str:
    """Return a network in its normal form; what is none is reported later."""
    try:
        return text if "-" in text else str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return text


DIRECTIVES = [supported("geo", HTTP, words(1, 2), _geo, "[geo.NAME]", repeat=True, block=True)]
