"""Which file of a Rust crate imports which: read from `use` statements and paths, tests left out."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Edges = dict[str, set[str]]

_TESTS = re.compile(r"#\[cfg\(test\)\]\s*(?:pub(?:\([a-z]+\))? )?mod \w+ \{.*", re.DOTALL)
_COMMENT = re.compile(r"//[^\n]*")
_USE = re.compile(r"\buse\s+((?:crate|super|self)::[^;]+);")
_PATH = re.compile(r"\b(?:crate|super)(?:::\w+)+")


def modules(source: Path) -> dict[str, Path]:
    """The modules below `source` (a crate's `src`) by their path: `backend::app`; the root is ``""``."""
    found = {}
    for path in sorted(source.rglob("*.rs")):
        if path.stem in {"tests", "testing"}:
            continue
        parts = list(path.relative_to(source).with_suffix("").parts)
        if parts[-1] in ("mod", "lib"):
            parts.pop()
        found["::".join(parts)] = path
    return found


def without_tests(text: str) -> str:
    """The text of a file without comments and tests."""
    return _COMMENT.sub("", _TESTS.sub("", text))


def imports(source: Path) -> Edges:
    """The modules each module names. A parent and its child naming each other is no import: they are one noun."""
    files = modules(source)
    edges: Edges = defaultdict(set)
    for module, path in files.items():
        text = without_tests(path.read_text(encoding="utf-8"))
        named = {full for match in _USE.finditer(text) for full in _expanded("", match[1])}
        named.update(match[0] for match in _PATH.finditer(text))
        for name in named:
            target = _resolve(files, module, name)
            if target and target != module and not module.startswith(f"{target}::"):
                edges[module].add(target)
    return dict(edges)


def largest_circle(edges: Edges) -> list[str]:
    """The largest set of modules that all reach one another (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    best: list[str] = []

    def visit(node: str) -> None:
        nonlocal best
        index[node] = low[node] = len(index)
        stack.append(node)
        for neighbour in edges.get(node, ()):
            if neighbour not in index:
                visit(neighbour)
                low[node] = min(low[node], low[neighbour])
            elif neighbour in stack:
                low[node] = min(low[node], index[neighbour])
        if low[node] == index[node]:
            at = stack.index(node)
            circle = stack[at:]
            del stack[at:]
            if len(circle) > len(best):
                best = sorted(circle)

    for node in list(edges):
        if node not in index:
            visit(node)
    return best


def _expanded(prefix: str, text: str) -> Iterator[str]:
    text = text.strip()
    if "{" not in text:
        yield prefix + text.split(" as ")[0]
        return
    head, rest = text.split("{", 1)
    depth, part = 1, ""
    for character in rest:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0 or (depth == 1 and character == ","):
            if part.strip():
                yield from _expanded(prefix + head, part)
            part = ""
            if depth == 0:
                return
        else:
            part += character


def _resolve(files: dict[str, Path], module: str, name: str) -> str | None:
    parts = name.split("::")
    base = [] if parts[0] == "crate" else module.split("::") if module else []
    while parts and parts[0] in ("crate", "self", "super"):
        if parts[0] == "super":
            base = base[:-1]
        parts = parts[1:]
    path = base + parts
    while path:
        if "::".join(path) in files:
            return "::".join(path)
        path = path[:-1]
    return None
