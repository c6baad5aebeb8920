"""The floors of the data plane: a module imports from its own floor and from those below it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers.rust_imports import Edges, imports, largest_circle, modules, without_tests

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "crates/gateway/src"

FLOORS = (
    ("ground", "clock error kinds net outbox random reserve rooms sys tables text units"),
    ("sockets and bodies", "body io observe"),
    ("exchange", "exchange gateway regex scope settings vars"),
    (
        "rooms",
        (
            "accel access backend error_page filter limit mirror observe::access_log observe::error_log "
            "page rewrite route subrequest tls upstream variables waf"
        ),
    ),
    ("line", "config modules pipeline plan"),
    ("doors", "http listen"),
    ("process", "control thread"),
)
"""From the ground up: what a floor is called, and its modules with all that is within them."""

LARGEST_CIRCLE = 5
"""Files that import one another; may only shrink."""


HTTP1 = {
    "backend::app::upgrade": "an app that leaves HTTP writes its 101 itself",
    "backend::proxy": "the protocols of upstreams share the head and framing of responses",
    "error": "what cannot be read is an error",
    "exchange": "reason phrases",
    "page": "reason phrases",
    "plan": "limits of heads as the codec has them",
    "upstream::link": "the protocols of upstreams share the head and framing of responses",
    "upstream::protocol": "the same",
    "upstream::protocol::cgi": "the same",
    "upstream::protocol::fastcgi": "the same",
}
"""Modules outside `http::h1` and `upstream::protocol::h1` that name the codec of HTTP/1, and why."""


def floor(module: str) -> int:
    """The floor of the module, by the longest name that fits."""
    fits = [
        (len(name), level)
        for level, (_, names) in enumerate(FLOORS)
        for name in names.split()
        if module == name or module.startswith(f"{name}::")
    ]
    assert fits, f"{module} stands on no floor: add it to FLOORS"
    return max(fits)[1]


def upward(edges: Edges) -> list[str]:
    return sorted(
        f"{module} -> {target}"
        for module, targets in edges.items()
        if module
        for target in targets
        if floor(target) > floor(module)
    )


@pytest.fixture(scope="module")
def edges() -> Edges:
    return imports(SOURCE)


def test_no_import_runs_upwards(edges: Edges) -> None:
    assert upward(edges) == [], "move the type down, or hand it over as an argument"


def test_the_largest_circle_of_imports_only_shrinks(edges: Edges) -> None:
    circle = largest_circle(edges)
    assert len(circle) <= LARGEST_CIRCLE, f"{len(circle)} files import one another: {', '.join(circle)}"


def test_nothing_but_http_itself_names_a_version_of_it(edges: Edges) -> None:
    within = ("http::h1", "http::h2", "http::h3")
    named = {
        module
        for module, targets in edges.items()
        for target in targets
        if target.startswith(within) and not module.startswith(within)
    }
    assert named == set(), "http::serve chooses the version; nothing else learns of it"


def test_the_codec_of_http_1_is_named_where_http_1_is_spoken() -> None:
    versions = re.compile(r"\bVersion::H\d+\b")
    named, compared = set(), set()
    for module, path in modules(SOURCE).items():
        if module.startswith(("http::h1", "http::h2", "upstream::protocol::h1")):
            continue
        text = without_tests(path.read_text(encoding="utf-8"))
        if "buchner_wire::h1" in text:
            named.add(module)
        if versions.search(text):
            compared.add(module)
    assert named == set(HTTP1), "ask for what the version can do, or give it to the version"
    assert compared == {"filter::gzip"}, (
        "versions are asked what they can do (wire::Version); gzip_http_version names one"
    )


def test_an_import_upwards_and_a_circle_are_seen(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/mod.rs").write_text("pub mod peer;\nuse crate::http::{self, h1::Conn};\n")
    (tmp_path / "net/peer.rs").write_text("// use crate::thread;\nuse super::super::io::Sock;\n")
    (tmp_path / "http.rs").write_text(
        "fn f() { crate::net::peer::x(); }\n#[cfg(test)]\nmod tests { use crate::thread; }\n"
    )
    (tmp_path / "io.rs").write_text("use crate::{error::Kind, http};\n")
    (tmp_path / "error.rs").write_text("")
    edges = imports(tmp_path)
    assert upward(edges) == ["io -> http", "net -> http", "net::peer -> io"]
    assert largest_circle(edges) == ["http", "io", "net::peer"]
