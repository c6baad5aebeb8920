"""The directives of nginx, one file per module; a module added here is read, checked and documented.

A file has `MODULE`, nginx's name of the module, and `DIRECTIVES`, its rows. Modules that Buchner has nothing of yet
are in ``later`` and ``never``: whoever adds one takes it out of there and gives it a file.
"""

from importlib import import_module
from pkgutil import iter_modules

from buchner.nginx.directives import core, families, http_core, later, never, other_backends
from buchner.nginx.rows import Row, Rows


def _modules() -> dict[str, list[Row]]:
    """Find the rows of the files that say which module of nginx they belong to."""
    found: dict[str, list[Row]] = {}
    for file in sorted(entry.name for entry in iter_modules(__path__)):
        module = import_module(f"{__name__}.{file}")
        if hasattr(module, "MODULE"):
            found.setdefault(module.MODULE, []).extend(module.DIRECTIVES)
    return found


MODULES: dict[str, list[Row]] = _modules()
"""Rows by module."""
MODULES |= later.MODULES | never.MODULES | other_backends.MODULES | families.MODULES
MODULES = {
    name: MODULES[name]
    for name in sorted(MODULES, key=lambda name: (name != core.MODULE, name != http_core.MODULE, name))
}
ROWS = Rows(MODULES.values())

__all__ = ["MODULES", "ROWS"]
