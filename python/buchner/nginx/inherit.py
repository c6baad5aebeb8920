"""What an inner block takes over from the outer, by the rows of the directive tables.

gateway.toml itself hands settings down from the root to servers and from servers to routes. What it does not know is
done here: ``limit_except`` blocks, and directives whose own rule is another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.nginx.rows import Inherit

if TYPE_CHECKING:
    from buchner.nginx.scope import Scope

_BLOCKS = ("location_if", "limit_except")
_HANDED_DOWN = {
    ("http", "server"),
    ("server", "location"),
    ("location", "location"),
    ("location", "location_if"),
    ("location", "limit_except"),
    ("location_if", "location_if"),
}


def settle(scope: Scope) -> None:
    """Give each block below `scope` what it inherits, from the outside in, and finish it."""
    for finish in scope.finish:
        finish()
    for child in scope.children:
        inherit(scope, child)
        settle(child)


def inherit(outer: Scope, inner: Scope) -> None:
    """Give a block the settings of the one around it, where it has none of its own."""
    rows = inner.state.rows
    for name, mode in rows.moded.items():
        _add(outer, inner, name, inner.value(mode, "on"))
    if (outer.kind, inner.kind) in _HANDED_DOWN or not isinstance(inner.table, gen.Route):
        return
    for name in (*gen.SETTINGS, *rows.exceptions):
        rule = rows.exceptions.get(name, Inherit.REPLACED)
        if rule is Inherit.NONE or (rule is Inherit.BLOCKS and inner.kind not in _BLOCKS):
            continue
        if getattr(inner.table, name, None) is UNSET:
            setattr(inner.table, name, getattr(outer.table, name, UNSET))


def _add(outer: Scope, inner: Scope, name: str, mode: str) -> None:
    """Add the outer block's values to a block's own, or keep them off, as `mode` says."""
    own = getattr(inner.table, name, None)
    if mode == "off" and own is UNSET:
        setattr(inner.table, name, _empty(effective(outer, name)))
    elif mode == "merge" and own not in (None, UNSET):
        above = effective(outer, name)
        setattr(inner.table, name, own if above is UNSET else _sum(above, own))


def effective(scope: Scope, name: str) -> Any:
    """Return the value a setting has in a block that is settled, its own or that of the blocks around it."""
    around: Scope | None = scope
    while around is not None:
        value = getattr(around.table, name, UNSET)
        if value is not UNSET:
            return value
        around = around.parent
    return UNSET


def _empty(value: Any) -> Any:
    """Return the empty value of the same type; nothing to keep off stays unset."""
    return UNSET if value is UNSET else type(value)()


def _sum(above: Any, own: Any) -> Any:
    return {**above, **own} if isinstance(own, dict) else [*above, *own]
