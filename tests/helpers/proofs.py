"""The proofs of directives: which tests look at the effect of one, and what such a test says.

tests/data/nginx_proofs.txt has a line for each directive, with its tests as pytest names them below tests/.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import TYPE_CHECKING

from helpers.places import TESTS

if TYPE_CHECKING:
    from pathlib import Path

PROOFS = TESTS / "data" / "nginx_proofs.txt"
_PROOF = re.compile(r"((?:\w+/)?test_\w+\.py)::(test_\w+)(?:\[([\w-]+)\])?")


def proofs() -> dict[str, list[str]]:
    """Return the tests that look at the effect of a directive, by directive."""
    entries = (line.split() for line in PROOFS.read_text().splitlines() if line and not line.startswith("#"))
    return {name: tests for name, *tests in entries}


@cache
def text_of(proof: str) -> str:
    """Return the texts in a test and in all it uses of its module and of helpers.www. Of a site, its file.

    A parameter is among them, with its parts joined as those of a directive; its first part takes the place of FAMILY.

    Raises:
        LookupError: there is no such test.

    """
    match = _PROOF.fullmatch(proof)
    if match is None:
        raise LookupError(f"{proof} is no name of a test")
    file, test, parameter = match.groups()
    parts = _parts(TESTS / "helpers/www.py") | _parts(TESTS / file)
    if test not in parts:
        raise LookupError(f"{file} has no {test}")
    if parameter and file == "nginx/test_nginx_sites.py":
        return (TESTS / "nginx_sites" / f"{parameter}.conf").read_text()
    wanted, found = [test], {test}
    while wanted:
        new = {name for name in _names(parts[wanted.pop()]) if name in parts} - found
        found |= new
        wanted += new
    text = "\n".join(text for name in found for text in _texts(parts[name]))
    return text.replace("FAMILY", parameter.split("-")[0]) + "\n" + parameter.replace("-", "_") if parameter else text


@cache
def _parts(path: Path) -> dict[str, ast.stmt]:
    """Return what a module defines at its top, by name."""
    parts: dict[str, ast.stmt] = {}
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                parts[node.name] = node
            case ast.Assign():
                parts.update({one.id: node for one in node.targets if isinstance(one, ast.Name)})
            case ast.AnnAssign(target=ast.Name(id=name)):
                parts[name] = node
    return parts


def _names(node: ast.stmt) -> set[str]:
    """Return the names that a definition uses; its arguments may be fixtures."""
    inner = list(ast.walk(node))
    return {one.id for one in inner if isinstance(one, ast.Name)} | {
        one.arg for one in inner if isinstance(one, ast.arg)
    }


def _texts(node: ast.stmt) -> list[str]:
    """Return the strings in a definition, its docstrings left out."""
    inner = list(ast.walk(node))
    said = {id(one.value) for one in inner if isinstance(one, ast.Expr)}
    texts = [one for one in inner if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return [str(one.value) for one in texts if id(one) not in said]
