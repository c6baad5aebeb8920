"""A block of nginx.conf while it is read, and the rows of the directive tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from buchner.nginx.inherit import FileSettings

if TYPE_CHECKING:
    from buchner.config import _generated as gen
    from buchner.config.places import Path
    from buchner.errors import Problem
    from buchner.nginx.lexer import Token
    from buchner.nginx.parser import Directive


@dataclass(slots=True)
class State:
    """What the whole file shares.

    Args:
        document: the configuration being made.
        places: tokens by path in the document.
        formats: log formats by name.
        problems: errors found.
        warnings: what is odd but works.
        proxied: authorities of proxy_pass.
    """

    document: gen.Document
    places: dict[Path, Token] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    proxied: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Scope:
    """A block.

    Args:
        kind: name of the context: main, events, http, server, location, upstream.
        state: what the file shares.
        table: the table of the document it fills.
        path: path of that table.
        files: settings for answers with files.
        seen: directives met in this block, by name.
        alias: directory that replaces the location's path.
        parent: the block around it.
    """

    kind: str
    state: State
    table: Any
    path: Path
    files: FileSettings = field(default_factory=FileSettings)
    seen: dict[str, Token] = field(default_factory=dict)
    alias: str | None = None
    parent: Scope | None = None

    def error(self, token: Token, message: str) -> None:
        """Note an error at a token."""
        self.state.problems.append(token.problem(message))

    def warn(self, token: Token, message: str) -> None:
        """Note a warning at a token."""
        self.state.warnings.append(token.problem(message))

    def put(self, name: str, value: object, token: Token, table: Any = None) -> None:
        """Set a setting of this block's table and remember its place."""
        setattr(self.table if table is None else table, name, value)
        self.state.places[(*self.path, name)] = token


Handler = Callable[[Scope, "Directive"], None]

UNBOUND = 99


@dataclass(frozen=True, slots=True)
class Row:
    """A directive Buchner takes.

    Args:
        contexts: blocks it may stand in.
        args: least and most number of arguments.
        handler: puts it into the document.
        becomes: what it is in gateway.toml, for docs/nginx.md.
        repeat: it may stand in a block several times.
        block: it has braces.
    """

    contexts: frozenset[str]
    args: tuple[int, int]
    handler: Handler
    becomes: str
    repeat: bool = False
    block: bool = False


def row(
    contexts: str,
    args: int | tuple[int, int],
    handler: Handler,
    becomes: str,
    *,
    repeat: bool = False,
    block: bool = False,
) -> Row:
    """Return a row; `contexts` are separated by spaces."""
    return Row(
        frozenset(contexts.split()), (args, args) if isinstance(args, int) else args, handler, becomes, repeat, block
    )
