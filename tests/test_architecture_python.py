"""The Python half: no file of it imports in a circle, for types neither."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "python" / "buchner"

KNOWN = [{"buchner.nginx.rows", "buchner.nginx.scope"}]
"""Circles that are still there; this list may only get shorter."""

Edges = dict[str, set[str]]


def imports(package: Path) -> Edges:
    """Which modules of a package import which, with those that are only for types or inside functions."""
    files = {name_of(package, file): file for file in package.rglob("*.py")}
    edges: Edges = {}
    for name, file in files.items():
        base = name if file.name == "__init__.py" else name.rpartition(".")[0]
        found: set[str] = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                parents = base.split(".")[: len(base.split(".")) - node.level + 1] if node.level else []
                module = ".".join([*parents, *([node.module] if node.module else [])])
                submodules = {f"{module}.{alias.name}" for alias in node.names} & files.keys()
                found |= submodules or {module}
        edges[name] = (found & files.keys()) - {name}
    return edges


def name_of(package: Path, file: Path) -> str:
    parts = [package.name, *file.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circles(edges: Edges) -> list[set[str]]:
    """The groups of modules that reach one another."""
    reach = {name: reachable(edges, name) for name in edges}
    groups = {frozenset({name, *(other for other in reach[name] if name in reach[other])}) for name in edges}
    return sorted((set(group) for group in groups if len(group) > 1), key=sorted)


def reachable(edges: Edges, start: str) -> set[str]:
    found: set[str] = set()
    waiting = list(edges[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += edges[name]
    return found


def test_no_file_imports_in_a_circle() -> None:
    edges = imports(PACKAGE)
    edges[PACKAGE.name] = set()  # the front: it imports what it offers when it is asked for it
    found = circles(edges)
    new = [circle for circle in found if not any(circle <= known for known in KNOWN)]
    assert new == [], "give the lower one a Protocol of what it needs, or move what both need to a file of its own"
    assert [known for known in KNOWN if known not in found] == [], "gone: take it off the list"


def test_a_circle_is_seen_also_when_it_is_for_types_only(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "sub" / "__init__.py").touch()
    (package / "a.py").write_text("from pack.sub import b\n")
    (package / "sub" / "b.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack import c\n"
    )
    (package / "c.py").write_text("def f():\n    from pack.a import g\n")
    (package / "d.py").write_text("import pack.a\n")
    assert circles(imports(package)) == [{"pack.a", "pack.c", "pack.sub.b"}]
