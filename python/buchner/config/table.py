"""Base of the generated classes."""

from __future__ import annotations

import msgspec


class Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A table of the configuration as written; settings that are not written are `msgspec.UNSET`."""


def written(table: Table) -> tuple[str, ...]:
    """Return the names of the settings that are written in a table."""
    return tuple(name for name in table.__struct_fields__ if getattr(table, name) is not msgspec.UNSET)
