"""Base of the generated classes."""

from __future__ import annotations

from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

if TYPE_CHECKING:
    from collections.abc import Callable


class Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A table of the configuration as written; settings that are not written are `msgspec.UNSET`."""


@cache
def names_of(kind: type[Table]) -> tuple[str, ...]:
    """Return the names of a table's settings: first its own, then those it shares with other tables."""
    bases = [base.__struct_fields__ for base in kind.__mro__ if issubclass(base, msgspec.Struct)]
    own = [set(fields) - set(below) for fields, below in zip(bases, [*bases[1:], ()], strict=True)]
    return tuple(name for fields, new in zip(bases, own, strict=True) for name in fields if name in new)


def written(table: Table, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the settings that are written in a table.

    Ten thousand servers have a million settings, nearly all of them not written: what tells so must not be a loop.

    Args:
        table: a table of the configuration.
        names: the settings wanted, two at least; all where none is named.

    """
    names = names or names_of(type(table))
    values = _getter(names)(table)
    if values.count(UNSET) == len(values):
        return {}
    return {name: value for name, value in zip(names, values, strict=True) if value is not UNSET}


@cache
def _getter(names: tuple[str, ...]) -> Callable[[Table], tuple[Any, ...]]:
    return attrgetter(*names)
