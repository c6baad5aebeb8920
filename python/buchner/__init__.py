"""Buchner: a gateway for Flask and any other WSGI app.

`Gateway(app).run()` serves an app from Python; `buchner serve` and `buchner run` do so from a shell.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
}

try:
    __version__ = metadata.version("buchner")
except metadata.PackageNotFoundError:  # a source tree that was not installed
    __version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import public names when they are used: workers are started often and need few of them (PEP 562)."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
