"""Reads the directives of a block by the rows of the tables, in the order of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.config.suggest import hint
from buchner.nginx.rows import CONTEXTS, BadArgument, Status

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.rows import Row
    from buchner.nginx.scope import Scope


def read(directives: list[Directive], scope: Scope) -> None:
    """Read the directives of a block into its scope; what is wrong is noted there."""
    for directive in directives:
        row = find(directive, scope)
        if row is None:
            continue
        if not row.repeat and directive.name in scope.seen:
            first = scope.seen[directive.name]
            scope.error(directive.token, f'"{directive.name}" stands in this block already, in line {first.line}')
            continue
        scope.seen[directive.name] = directive.token
        try:
            directive.values = row.kind.values(directive.args)
        except BadArgument as error:
            scope.error(error.token, error.message)
            continue
        scope.judge(directive, row.status, row.note)
        row.handler(scope, directive)


def find(directive: Directive, scope: Scope) -> Row | None:
    """Return the row of a directive, or None after noting why there is none."""
    name, token = directive.name, directive.token
    row = scope.state.rows.by_context.get((scope.kind, name))
    if row is None:
        scope.error(token, _misplaced(name, scope, scope.state.rows.by_name.get(name, [])))
        return None
    if row.status is Status.REFUSED:
        scope.judge(directive, row.status, row.note)
        scope.error(token, f'"{name}" is refused: {row.note}')
        return None
    if row.block != (directive.block is not None):
        scope.error(
            token, f'"{name}" needs a block in braces' if row.block else f'"{name}" has no block: end it with ";"'
        )
        return None
    problem = row.kind.problem(len(directive.args))
    if problem:
        scope.error(token, f'"{name}" {problem}{_unfinished(directive)}')
        return None
    return row


def _unfinished(directive: Directive) -> str:
    """Return what to ask where arguments stand on another line, where people rarely put them."""
    line = directive.token.line
    for arg in directive.args:
        if arg.line != line:
            return f': is the ";" of line {line} missing?'
    return ""


def _misplaced(name: str, scope: Scope, rows: list[Row]) -> str:
    if not rows:
        return f'unknown directive "{name}"{hint(name, scope.state.rows.by_name)}'
    refusal = next((row for row in rows if row.status is Status.REFUSED), None)
    if refusal is not None and len(rows) == 1:
        return f'"{name}" is refused: {refusal.note}'
    where = [title for kind, title in CONTEXTS.items() if any(kind in row.contexts for row in rows)]
    return f'"{name}" is not allowed in "{CONTEXTS[scope.kind]}" but in {", ".join(where)}'
