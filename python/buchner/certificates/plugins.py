"""DNS providers by name: `hook`, `rfc2136`, and those that installed packages bring.

A package brings one by an entry point of the group `buchner.dns`, a callable that takes the settings as keyword
arguments and returns a `challenges.DnsProvider`::

    [project.entry-points."buchner.dns"]
    example = "buchner_dns_example:Provider"
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from buchner.errors import BuchnerError, ConfigError

if TYPE_CHECKING:
    from buchner.certificates.challenges import DnsProvider

GROUP = "buchner.dns"
_OWN = {"hook": "buchner.certificates.hook:Hook", "rfc2136": "buchner.certificates.rfc2136:Rfc2136"}


def dns_provider(name: str, settings: dict[str, Any]) -> DnsProvider:
    """Make a DNS provider.

    Args:
        name: `hook`, `rfc2136`, or the name of an entry point.
        settings: Its settings.

    Raises:
        ConfigError: There is none of this name, or it does not take the settings.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name in _OWN:
        from importlib.metadata import EntryPoint

        found[name] = EntryPoint(name, _OWN[name], GROUP)
    if name not in found:
        known = ", ".join(sorted({*_OWN, *found}))
        raise ConfigError(f'there is no DNS provider "{name}"; installed are {known}')
    try:
        provider: DnsProvider = found[name].load()(**settings)
    except BuchnerError:
        raise
    except Exception as error:
        raise ConfigError(f'the DNS provider "{name}" cannot be used: {error}') from error
    return provider
