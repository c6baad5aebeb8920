"""Buchner: a gateway for Flask and any other WSGI app.

`Gateway(app).run()` serves an app from Python; `buchner serve` and `buchner run` do so from a shell.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as `typing` has it, without the import: each process of the service would pay for that
if TYPE_CHECKING:
    from typing import Any

    from buchner._native import __version__
    from buchner.api import Gateway, RunningGateway
    from buchner.errors import AppImportError, BuchnerError, ConfigError, ListenError

__all__ = ["AppImportError", "BuchnerError", "ConfigError", "Gateway", "ListenError", "RunningGateway", "__version__"]

_HOMES = {
    "AppImportError": "buchner.errors",
    "BuchnerError": "buchner.errors",
    "ConfigError": "buchner.errors",
    "Gateway": "buchner.api",
    "ListenError": "buchner.errors",
    "RunningGateway": "buchner.api",
    "__version__": "buchner._native",
}


def __getattr__(name: str) -> Any:
    """Import public names when they are used: workers are started often and need few of them (PEP 562)."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
