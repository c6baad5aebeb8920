"""The name servers of ngx_http_core_module: those of all blocks are the gateway's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.config.suggest import hint
from buchner.nginx import units
from buchner.nginx.rows import HTTP_SERVER_LOCATION, TIME, WORDS, supported

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_core_module"
_PARAMETERS = ("valid", "ipv4", "ipv6", "status_zone")


def _gateway(scope: Scope) -> gen.Gateway:
    document = scope.state.document
    if document.gateway is UNSET:
        document.gateway = gen.Gateway()
    return document.gateway


def _resolver(scope: Scope, directive: Directive) -> None:
    servers = []
    own = gen.Gateway()
    for arg in directive.args:
        name, equals, value = arg.text.partition("=")
        if not equals:
            servers.append(arg.text)
        elif name == "valid":
            try:
                own.resolver_valid = units.milliseconds(value, seconds=True) / 1000
            except ValueError as error:
                scope.error(arg, str(error))
        elif name in ("ipv4", "ipv6") and value in ("on", "off"):
            setattr(own, f"resolver_{name}", value == "on")
        elif name not in _PARAMETERS:
            scope.error(arg, f'unknown parameter "{arg.text}" of "resolver"{hint(name, _PARAMETERS)}')
        elif name != "status_zone":
            scope.error(arg, f'"{value}" is neither "on" nor "off"')
    own.resolver = servers
    gateway = _gateway(scope)
    names = ("resolver", "resolver_valid", "resolver_ipv4", "resolver_ipv6")
    if not servers:
        scope.error(directive.token, '"resolver" names no name server')
    elif gateway.resolver is UNSET:
        for name in names:
            setattr(gateway, name, getattr(own, name))
            scope.state.places["gateway", name] = directive.args[0]
    elif any(getattr(gateway, name) != getattr(own, name) for name in names):
        scope.refuse(directive.token, "resolver", "the file has another one, and there is one for the whole gateway")


def _timeout(scope: Scope, directive: Directive) -> None:
    gateway = _gateway(scope)
    seconds = directive.values[0] / 1000
    if gateway.resolver_timeout not in (UNSET, seconds):
        scope.refuse(directive.token, "resolver_timeout", "the file has another one, and there is one for all")
    gateway.resolver_timeout = seconds


DIRECTIVES = [
    supported("resolver", HTTP_SERVER_LOCATION, WORDS, _resolver, "gateway.resolver and gateway.resolver_…"),
    supported("resolver_timeout", HTTP_SERVER_LOCATION, TIME, _timeout, "gateway.resolver_timeout"),
]
