"""A block of nginx.conf while it is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from buchner.nginx.rows import Inherit, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path as FilePath

    from buchner.config import _generated as gen
    from buchner.config.places import Path
    from buchner.errors import Problem
    from buchner.nginx.lexer import Token
    from buchner.nginx.parser import Directive
    from buchner.nginx.rows import Rows

_BLOCKS = ("location_if", "server_if", "limit_except")


class Verdict(NamedTuple):
    """What became of one directive of a file."""

    token: Token
    status: Status
    note: str


@dataclass(slots=True)
class State:
    """What the whole file shares.

    Args:
        document: the configuration being made.
        rows: the directives there are.
        base: directory of the main file; relative names of includes and of secrets start from it.
        access_log: where requests are logged if the file says nothing of it.
        prefix: directory that all other relative names start from.
        root: the default root.
        places: tokens by path in the document.
        formats: log formats by name, and how their values are escaped.
        problems: errors found.
        warnings: what is odd but works.
        proxied: authorities of proxy_pass and its like, with whether they are spoken to in TLS, and in which language;
            where each stands first.
        sockets: addresses of `listen` with options of sockets, and where.
        encrypted: addresses of `listen … ssl`, in their normal form.
        refused_files: names of files that `ssl_certificate` and others refuse.
        told: where what several blocks inherit has been reported already: file and offset.
        roots: what `root` and `alias` say.
        verdicts: what became of each directive, in order.
    """

    document: gen.Document
    rows: Rows
    base: FilePath
    prefix: FilePath
    root: str
    access_log: str = "-"
    places: dict[Path, Token] = field(default_factory=dict)
    formats: dict[str, tuple[str, str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    proxied: dict[tuple[str, bool, str], Token] = field(default_factory=dict)
    sockets: dict[str, Token] = field(default_factory=dict)
    encrypted: set[str] = field(default_factory=set)
    refused_files: set[str] = field(default_factory=set)
    told: set[tuple[str, int]] = field(default_factory=set)
    roots: set[str] = field(default_factory=set)
    verdicts: list[Verdict] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Scope:
    """A block.

    A handler notes what its directive says and nothing else: in the block's table of the document (`put`), or in
    `values` what gateway.toml keeps elsewhere. When the whole file is read, blocks are settled from the outside in:
    each takes over from its parent (``inherit``), then its `finish` functions are called.

    Args:
        kind: name of the context, a key of ``rows.CONTEXTS``.
        state: what the file shares.
        table: the table of the document it fills.
        path: path of that table.
        parent: the block around it.
        values: what this block itself says, by directive.
        tokens: where it says it.
        seen: directives met in this block, by name.
        children: the blocks in it.
        finish: called when the block is settled.
        families: what the directives of uwsgi, FastCGI and SCGI say here, by family; tables of the document's kind.
    """

    kind: str
    state: State
    table: Any
    path: Path
    parent: Scope | None = None
    values: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    seen: dict[str, Token] = field(default_factory=dict)
    children: list[Scope] = field(default_factory=list)
    finish: list[Callable[[], None]] = field(default_factory=list)
    families: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Add the block to its parent."""
        if self.parent is not None:
            self.parent.children.append(self)

    def error(self, token: Token, message: str) -> None:
        """Note an error at a token."""
        self.state.problems.append(token.problem(message))

    def refuse(self, token: Token, what: str, reason: str) -> None:
        """Note that a parameter or a form of a directive is refused, and why."""
        self.error(token, f'"{what}" is refused: {reason}')
        verdicts = self.state.verdicts
        for index in range(len(verdicts) - 1, -1, -1):
            if verdicts[index].token.source is token.source and verdicts[index].token.start <= token.start:
                verdicts[index] = Verdict(verdicts[index].token, Status.REFUSED, f"{what}: {reason}")
                return

    def warn(self, token: Token, message: str) -> None:
        """Note a warning at a token."""
        self.state.warnings.append(token.problem(message))

    def put(self, name: str, value: object, token: Token, table: Any = None) -> None:
        """Set a setting of this block's table and remember its place."""
        setattr(self.table if table is None else table, name, value)
        self.state.places[(*self.path, name)] = token

    def value(self, directive: str, default: Any = None) -> Any:
        """Return what a directive that `keep` keeps says in this block, or around it as far as it is inherited."""
        holder = self.holder(directive)
        return default if holder is None else holder.values[directive]

    def holder(self, directive: str) -> Scope | None:
        """Return the innermost block whose own value of a directive holds here."""
        inherited = self.state.rows.rule(directive)
        scope: Scope | None = self
        while scope is not None:
            if directive in scope.values:
                return scope
            if inherited is Inherit.NONE or (inherited is Inherit.BLOCKS and scope.kind not in _BLOCKS):
                return None
            scope = scope.parent
        return None

    def around(self, kind: str) -> Scope | None:
        """Return the innermost block of a kind that this one is or stands in."""
        scope: Scope | None = self
        while scope is not None and scope.kind != kind:
            scope = scope.parent
        return scope

    def judge(self, directive: Directive, status: Status, note: str) -> None:
        """Note what became of a directive."""
        self.state.verdicts.append(Verdict(directive.token, status, note))
