"""What is added is one file and one row of a list: an example of each kind is named once outside of its own file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from helpers.rust_imports import without_tests

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
GATEWAY = "crates/gateway/src"
SOURCES = (("crates", "*.rs"), ("python", "*.py"), ("scripts", "*.py"))
GENERATED = "python/buchner/config/_generated.py"
NGINX = {
    "python/buchner/nginx/directives": "a directive of nginx is a row of its own",
    "python/buchner/nginx/command.py": "the names of nginx's modules, as its -V has them",
}
"""Where nginx's own names stand, some of which are ours too, and why."""
_MODULE = re.compile(r"^\s*(?:pub(?:\([a-z]+\))? )?mod \w+;", re.MULTILINE)
_TEXT = re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"""|(?m:#(?!["\'])[^\n]*$)', re.DOTALL)


class Example(NamedTuple):
    """One of a kind.

    Attributes:
        kind: what it is.
        names: its names in the sources, as a regular expression.
        own: its own file; empty if it has none and the row is all there is.
        row: the file with its row.

    """

    kind: str
    names: str
    own: str
    row: str


EXAMPLES = (
    Example("content handler", r"\bempty_gif\b|\bEmptyGif\b", "backend/empty_gif.rs", "backend/mod.rs"),
    Example(
        "content handler with variables", r"\bstub_status\b|\bStubStatus\b", "backend/stub_status.rs", "backend/mod.rs"
    ),
    Example("filter", r"\bgunzip\b", "filter/gunzip.rs", "modules.rs"),
    Example("filter with variables", r"\buserid\b", "filter/userid.rs", "modules.rs"),
    Example("check", r"\bpassword::|\bauth_basic\b", "access/password.rs", "modules.rs"),
    Example("room", r"\breferer::|\bvalid_referers\b", "variables/referer.rs", "modules.rs"),
    Example("balancer", r"\bleast_conn\b|\bLeastConn\b", "upstream/balance/least_conn.rs", "upstream/balance/mod.rs"),
    Example("upstream protocol", r"\bHttp1\b", "upstream/protocol/h1.rs", "upstream/protocol/mod.rs"),
    Example("kind of string", r"\bpath-text\b", "", "kinds.rs"),
    Example("variable of a filter", r"\bgzip_ratio\b", "", "filter/gzip.rs"),
    Example("variable of a content handler", r"\bconnections_waiting\b", "", "backend/stub_status.rs"),
)


def places(root: Path, names: str, own: str) -> Iterator[str]:
    """Yield the lines that name something outside of its own file, but no comments, tests or `mod` lines: `file: line`.

    Args:
        root: the repository.
        names: the names, as a regular expression.
        own: its own file, from the root.

    """
    for folder, pattern in SOURCES:
        for path in sorted((root / folder).rglob(pattern)):
            file = path.relative_to(root).as_posix()
            if file in (own, GENERATED) or file.startswith(tuple(NGINX)) or path.stem in ("tests", "testing"):
                continue
            text = path.read_text(encoding="utf-8")
            text = _MODULE.sub("", without_tests(text)) if path.suffix == ".rs" else _TEXT.sub("", text)
            yield from (f"{file}: {line.strip()}" for line in text.split("\n") if re.search(names, line))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.kind)
def test_an_example_of_each_kind_is_one_row(example: Example) -> None:
    own = f"{GATEWAY}/{example.own}" if example.own else ""
    assert (ROOT / own).exists()
    found = list(places(ROOT, example.names, own))
    assert len(found) == 1, f"a new {example.kind} would have to be named in each of these places: {found}"
    assert found[0].startswith(f"{GATEWAY}/{example.row}: "), "the row stands in the list that CONTRIBUTING.md names"


def test_a_second_place_is_seen_and_comments_and_tests_are_not(tmp_path: Path) -> None:
    rust, python = tmp_path / "crates/a/src", tmp_path / "python/buchner"
    rust.mkdir(parents=True)
    python.mkdir(parents=True)
    (rust / "gone.rs").write_text("pub struct Gone;")
    (rust / "mod.rs").write_text("pub mod gone;\n// gone\nlist! { gone::Gone }\n#[cfg(test)]\nmod tests {\n gone }\n")
    (python / "a.py").write_text('"""Of gone."""\nx = 1  # gone\n')
    found = list(places(tmp_path, r"\bgone\b", "crates/a/src/gone.rs"))
    assert found == ["crates/a/src/mod.rs: list! { gone::Gone }"]
    (python / "b.py").write_text('KINDS = ("gone",)\n')
    assert list(places(tmp_path, r"\bgone\b", "crates/a/src/gone.rs")) == [
        *found,
        'python/buchner/b.py: KINDS = ("gone",)',
    ]
