"""The name servers of ngx_http_core_module: each block may have its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.config.suggest import hint
from buchner.nginx import units
from buchner.nginx.rows import HTTP_SERVER_LOCATION, TIME, WORDS, put_time, supported

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_core_module"
_PARAMETERS = ("valid", "ipv4", "ipv6", "status_zone")


def _resolver(scope: Scope, directive: Directive) -> None:
    """Put a resolver in the place of that of the block around, with all that it has."""
    servers = []
    own: dict[str, object] = {"resolver_valid": 0.0, "resolver_ipv4": True, "resolver_ipv6": True}
    for arg in directive.args:
        name, equals, value = arg.text.partition("=")
        if not equals:
            servers.append(arg.text)
        elif name == "valid":
            try:
                own["resolver_valid"] = units.milliseconds(value, seconds=True) / 1000
            except ValueError as error:
                scope.error(arg, str(error))
        elif name in ("ipv4", "ipv6") and value in ("on", "off"):
            own[f"resolver_{name}"] = value == "on"
        elif name not in _PARAMETERS:
            scope.error(arg, f'unknown parameter "{arg.text}" of "resolver"{hint(name, _PARAMETERS)}')
        elif name != "status_zone":
            scope.error(arg, f'"{value}" is neither "on" nor "off"')
    if not servers:
        scope.error(directive.token, '"resolver" names no name server')
    elif not own["resolver_ipv4"] and not own["resolver_ipv6"]:
        scope.error(directive.token, '"ipv4" and "ipv6" cannot both be "off"')
    for setting, said in {"resolver": servers, **own}.items():
        scope.put(setting, said, directive.args[0])


DIRECTIVES = [
    supported(
        "resolver",
        HTTP_SERVER_LOCATION,
        WORDS,
        _resolver,
        "resolver, with resolver_valid, resolver_ipv4 and resolver_ipv6",
    ),
    supported("resolver_timeout", HTTP_SERVER_LOCATION, TIME, put_time("resolver_timeout"), "resolver_timeout"),
]
