"""nginx.conf as the text of a gateway.toml that means the same, comments included."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from buchner.config.emit import Emitter
from buchner.nginx.lexer import remarks

if TYPE_CHECKING:
    from buchner.config.places import Path
    from buchner.nginx.adapt import Adapted
    from buchner.nginx.lexer import Source


def convert(adapted: Adapted) -> str:
    """Return the text of a gateway.toml.

    Args:
        adapted: a file that was read and has no problems.

    """
    comments = Comments(adapted)
    text = Emitter(comments.take).text(adapted.state.document)
    return "\n".join(filter(None, (_block(comments.head), text, _block(comments.rest()))))


def _block(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


class Comments:
    """The comments of a file, each kept before the setting that the directive behind it has become.

    A comment behind a directive on its line belongs to that one. What belongs to a directive that has become nothing
    goes to the next that has become something.

    Args:
        adapted: the file.
    """

    def __init__(self, adapted: Adapted) -> None:
        self._by_path: dict[Path, list[str]] = {}
        self._main = next(iter(adapted.sources.values()))
        self._rest: list[str] = []
        self.head: list[str] = []
        """The comments that stand before everything."""
        paths: dict[str, dict[int, Path]] = {}
        for path, token in adapted.state.places.items():
            kept = _within(adapted.state.document, path)
            if kept:
                known = paths.setdefault(token.source.name, {})
                known[token.start] = min(known.get(token.start, kept), kept, key=len)
        for name, source in adapted.sources.items():
            self._assign(source, paths.get(name, {}))

    def _assign(self, source: Source, paths: dict[int, Path]) -> None:
        starts = sorted(paths)
        for remark in remarks(source):
            index = bisect_left(starts, remark.start)
            if remark.trailing and index:
                before = starts[index - 1]
                if source.position(before)[0] == source.position(remark.start)[0]:
                    index -= 1
            lines = [f"#{line}" for line in remark.lines]
            if not remark.trailing and source is self._main and not source.text[: remark.start].strip():
                self.head = lines
            elif index < len(starts):
                self._by_path.setdefault(paths[starts[index]], []).extend(lines)
            else:
                self._rest += lines

    def take(self, path: Path, deep: bool) -> list[str]:
        """Return the comments of a path, and with `deep` of what is below it; each is returned once."""
        if not self._by_path:
            return []
        found = self._by_path.pop(path, [])
        if deep:
            for below in [other for other in self._by_path if other[: len(path)] == path]:
                found += self._by_path.pop(below)
        return found

    def rest(self) -> list[str]:
        """Return the comments that nothing has taken."""
        left = [line for lines in self._by_path.values() for line in lines]
        return [*left, *self._rest]


def _within(document: Any, path: Path) -> Path:
    """Return the beginning of a path that leads to something in a document."""
    for length, part in enumerate(path):
        if isinstance(document, list):
            document = document[part] if isinstance(part, int) and part < len(document) else UNSET
        elif isinstance(document, dict):
            document = document.get(part, UNSET)
        else:
            document = getattr(document, str(part), UNSET)
        if document is UNSET:
            return path[:length]
    return path
