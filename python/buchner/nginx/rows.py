"""The rows of the directive tables: where a directive may stand, what it takes, what becomes of it.

Each file in ``directives/`` is one module of nginx and lists its rows. Everything else is driven by them: which
directive is read by whom (``reader``), what an inner block takes over from the outer (``inherit``), what ``buchner
check`` prints and what docs/nginx.md says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from buchner.nginx import units

if TYPE_CHECKING:
    from buchner.nginx.lexer import Token
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

UNBOUND = 99

MAIN = "main"
EVENTS = "events"
HTTP = "http"
HTTP_SERVER = "http server"
HTTP_SERVER_LOCATION = "http server location"
WITH_IF = "http server location location_if"
REWRITE = "server location server_if location_if"
CONTEXTS = {
    "main": "main",
    "events": "events",
    "http": "http",
    "upstream": "upstream",
    "server": "server",
    "location": "location",
    "server_if": "if in server",
    "location_if": "if in location",
    "limit_except": "limit_except",
}
"""The blocks that hold directives, and what they are called in messages."""


class Status(Enum):
    """What Buchner does with a directive."""

    SUPPORTED = "supported"
    NO_EFFECT = "accepted without effect"
    REFUSED = "refused"


class Inherit(Enum):
    """What an inner block has of a directive it does not repeat."""

    REPLACED = "inherited, unless repeated"
    """All of the outer block's; one of its own replaces them all."""
    BLOCKS = "inherited by if and limit_except only"
    """Those of a location hold in its ``if`` and ``limit_except`` blocks, but not in locations within it."""
    NONE = "not inherited"


@dataclass(frozen=True, slots=True)
class Kind:
    """Arguments of a directive.

    Args:
        counts: how many there may be.
        read: reads each of the arguments, or None if the handler does.
        words: what they are called in the documentation.
    """

    counts: range | frozenset[int]
    read: tuple[Callable[[str], Any], ...] | None = None
    words: str = ""

    def problem(self, count: int) -> str | None:
        """Return what is wrong with a number of arguments, if anything."""
        if count in self.counts:
            return None
        least, most = min(self.counts), max(self.counts)
        if isinstance(self.counts, frozenset) and least < count < most:
            wanted = " or ".join(map(str, sorted(self.counts)))
        elif least == most:
            wanted = f"{least}" if least else "no"
        else:
            wanted = f"at least {least}" if count < least else f"at most {most}"
        return f"takes {wanted} argument{'' if wanted.endswith('1') else 's'}, not {count}"

    def values(self, args: list[Token]) -> list[Any]:
        """Read the arguments.

        Raises:
            BadArgument: one of them is not what it has to be.

        """
        if self.read is None:
            return []
        values = []
        for index, arg in enumerate(args):
            try:
                values.append(self.read[min(index, len(self.read) - 1)](arg.text))
            except ValueError as error:
                raise BadArgument(arg, str(error)) from None
        return values


class BadArgument(Exception):  # noqa: N818 - it is caught where it becomes a Problem
    """An argument that cannot be read."""

    def __init__(self, token: Token, message: str) -> None:
        super().__init__(message)
        self.token = token
        self.message = message


def words(least: int, most: int | None = None) -> Kind:
    """Arguments that the handler reads itself: exactly `least`, or `least` to `most`."""
    return Kind(range(least, (least if most is None else most) + 1))


def one_of(*names: str) -> Kind:
    """One of some words, whose case does not matter."""

    def read(text: str) -> str:
        if text.lower() not in names:
            raise ValueError(f'"{text}" is none of {", ".join(names)}')
        return text.lower()

    return Kind(range(1, 2), (read,), "|".join(names))


def some_of(*names: str, least: int = 1, most: int = UNBOUND) -> Kind:
    """Several of some words."""
    return Kind(range(least, most + 1), one_of(*names).read, "|".join(names))


def _milliseconds(text: str) -> int:
    return units.milliseconds(text)


def _seconds(text: str) -> int:
    return units.milliseconds(text, seconds=True)


def _size(text: str) -> int:
    return units.size(text)


def _file_size(text: str) -> int:
    return units.size(text, giga=True)


def _buffers(text: str) -> int:
    count = units.number(text)
    if count == 0:
        raise ValueError("0 is not a number of buffers")
    return count


ONE = range(1, 2)
NOTHING = Kind(range(1))
WORD = words(1)
WORDS = words(1, UNBOUND)
FLAG = Kind(ONE, (units.flag,), "on|off")
NUMBER = Kind(ONE, (units.number,), "number")
SIZE = Kind(ONE, (_size,), "size")
FILE_SIZE = Kind(ONE, (_file_size,), "size")
TIME = Kind(ONE, (_milliseconds,), "time")
SECONDS = Kind(ONE, (_seconds,), "time")
BUFFERS = Kind(range(2, 3), (_buffers, _size), "number size")

Handler = Callable[["Scope", "Directive"], None]


@dataclass(frozen=True, slots=True)
class Row:
    """A directive.

    Args:
        name: its name.
        contexts: blocks it may stand in, keys of `CONTEXTS`.
        kind: its arguments; they are read and checked before the handler is called.
        status: what Buchner does with it.
        note: what it is in gateway.toml; why it is safe to ignore; why it is refused.
        handler: puts it into the document.
        inherit: what inner blocks have of it.
        sets: settings of the document it fills, where it is not inherited as a whole (`Inherit.REPLACED`).
        mode: directive whose value ("on", "off", "merge") says whether the outer block's are added to a block's own.
        repeat: it may stand in a block several times.
        block: it has braces.
    """

    name: str
    contexts: frozenset[str]
    kind: Kind
    status: Status
    note: str
    handler: Handler
    inherit: Inherit = Inherit.REPLACED
    sets: tuple[str, ...] = ()
    mode: str = ""
    repeat: bool = False
    block: bool = False


def supported(  # noqa: PLR0913 - a row is read as one line of a table
    name: str,
    contexts: str,
    kind: Kind,
    handler: Handler,
    becomes: str,
    *,
    inherit: Inherit = Inherit.REPLACED,
    sets: tuple[str, ...] = (),
    mode: str = "",
    repeat: bool = False,
    block: bool = False,
) -> Row:
    """Return the row of a directive that does here what it does in nginx.

    Args:
        name: its name.
        contexts: keys of `CONTEXTS`, separated by spaces.
        kind: its arguments.
        handler: called with the block and the directive, whose ``values`` are the arguments as `kind` reads them.
        becomes: what it is in gateway.toml, for docs/nginx.md and `buchner check`.
        inherit: see `Row`.
        sets: see `Row`.
        mode: see `Row`.
        repeat: see `Row`.
        block: see `Row`.

    """
    where = frozenset(contexts.split())
    return Row(name, where, kind, Status.SUPPORTED, becomes, handler, inherit, sets, mode, repeat, block)


def _nothing(scope: Scope, directive: Directive) -> None:
    del scope, directive


def no_effect(names: str, contexts: str, kind: Kind, why: str, *, repeat: bool = False) -> list[Row]:
    """Return rows of directives that need nothing here; their arguments are checked as nginx checks them.

    Args:
        names: their names, separated by spaces.
        contexts: keys of `CONTEXTS`, separated by spaces.
        kind: their arguments.
        why: why it is safe to ignore them, for docs/nginx.md and `buchner check`.
        repeat: they may stand in a block several times.

    """
    where = frozenset(contexts.split())
    return [Row(name, where, kind, Status.NO_EFFECT, why, _nothing, repeat=repeat) for name in names.split()]


def refused(names: str, contexts: str, reason: str, *, block: bool = False) -> list[Row]:
    """Return rows of directives that make a file unusable here.

    Args:
        names: their names, separated by spaces.
        contexts: keys of `CONTEXTS`, separated by spaces.
        reason: why, and what to do instead; ends the sentence that begins with the directive's name.
        block: they have braces.

    """
    where = frozenset(contexts.split())
    anything = words(0, UNBOUND)
    return [
        Row(name, where, anything, Status.REFUSED, reason, _nothing, repeat=True, block=block) for name in names.split()
    ]


def put(setting: str, *, scale: float = 1) -> Handler:
    """Return a handler that puts the only value (or word) into a setting of the block's table."""

    def handle(scope: Scope, directive: Directive) -> None:
        value: Any = directive.values[0] if directive.values else directive.words[0]
        scope.put(setting, value / scale if scale != 1 else value, directive.args[0])

    return handle


def put_time(setting: str) -> Handler:
    """Return a handler that puts a time into a setting."""
    return put(setting, scale=1000)


def keep(scope: Scope, directive: Directive) -> None:
    """Keep the only value (or the words) under the directive's name, for `Scope.value`."""
    scope.values[directive.name] = directive.values[0] if directive.values else directive.words
    scope.tokens[directive.name] = directive.args[0] if directive.args else directive.token


class Rows:
    """The rows of all modules.

    Args:
        modules: rows by module.
    """

    def __init__(self, modules: Iterable[Iterable[Row]]) -> None:
        self.by_name: dict[str, list[Row]] = {}
        """By directive; `server` is two."""
        self.exceptions: dict[str, Inherit] = {}
        """Settings that an inner block does not take over as a whole, and how it does."""
        self.by_context: dict[tuple[str, str], Row] = {}
        """By block and directive."""
        self.moded: dict[str, str] = {}
        """Settings to which another directive says whether the outer block's are added, and that directive."""
        for row in (row for rows in modules for row in rows):
            known = self.by_name.setdefault(row.name, [])
            if any(other.contexts & row.contexts for other in known):
                raise ValueError(f"two rows for {row.name} in one block")
            known.append(row)
            self.by_context.update({(context, row.name): row for context in row.contexts})
            for setting in row.sets:
                if row.mode:
                    self.moded[setting] = row.mode
                else:
                    self.exceptions[setting] = row.inherit

    def rule(self, directive: str) -> Inherit:
        """Return what inner blocks have of a directive."""
        found = self.by_name.get(directive)
        return found[0].inherit if found else Inherit.REPLACED
