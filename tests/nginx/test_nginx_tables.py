"""The directive tables of nginx.conf: complete, and what inner blocks inherit by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from buchner.config import load
from buchner.nginx.directives import MODULES, ROWS
from buchner.nginx.rows import FLAG, Inherit, Rows, no_effect, refused
from helpers.places import ROOT, TESTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCUMENTED = TESTS / "data" / "nginx_directives.txt"
PAGE = ROOT / "docs" / "nginx.md"


def documented() -> dict[str, str]:
    module, found = "", {}
    for line in DOCUMENTED.read_text().splitlines():
        if line.startswith("#"):
            continue
        if not line.startswith(" "):
            module = line
        else:
            found.update(dict.fromkeys(line.split(), module))
    return found


def test_every_documented_directive_has_a_row_and_a_line_in_the_page() -> None:
    names = documented()
    assert len(names) > 600
    assert not sorted(names.keys() - ROWS.by_name.keys())
    page = PAGE.read_text()
    assert not [name for name in names if f"| `{name}` |" not in page]


def test_every_row_says_what_becomes_of_its_directive() -> None:
    for module, rows in MODULES.items():
        assert rows, module
        for row in rows:
            assert row.note, row.name
            assert row.contexts or row.name == "include", row.name


def test_a_directive_cannot_have_two_rows_for_one_block() -> None:
    first, second = no_effect("x", "http server", FLAG, "a"), refused("x", "server location", "b")
    with pytest.raises(ValueError, match="two rows for x"):
        Rows([first, second])


def routes(tmp_path: Path, text: str) -> dict[str, dict[str, Any]]:
    """The settings of the routes of the first server, those within others too, by path, with what answers."""
    path = tmp_path / "nginx.conf"
    path.write_text(text)
    plan = load(path).plan

    def all_in(level: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for route in level:
            yield route
            yield from all_in(route.get("route", []))

    return {
        route["path"]: {**plan["settings"][route["settings"]], "content": route.get("content")}
        for route in all_in(plan["server"][0]["route"])
    }


def added(settings: dict[str, Any]) -> dict[str, str]:
    return {header["name"]: header["value"] for header in settings["add_headers"]}


def test_headers_of_a_block_replace_those_around_it(tmp_path: Path) -> None:
    found = routes(
        tmp_path,
        """http { add_header A 1; server { listen 8080; add_header B 2;
        location / { add_header C 3; return 204; }
        location /inherits { return 204; }
        location /nested/ { proxy_set_header X 1; location /nested/in { proxy_pass http://127.0.0.1:1; } } } }""",
    )
    assert added(found["/"]) == {"C": "3"}
    assert added(found["/inherits"]) == {"B": "2"}
    assert added(found["/nested/in"]) == {"B": "2"}
    assert found["/nested/in"]["set_headers"] == {"X": "1"}


def test_add_header_inherit_merges_or_keeps_off(tmp_path: Path) -> None:
    found = routes(
        tmp_path,
        """http { add_header A 1; add_header_inherit merge; server { listen 8080; add_header B 2;
        location / { add_header C 3; return 204; }
        location /off { add_header_inherit off; return 204; }
        location /own { add_header_inherit off; add_header D 4; return 204; }
        location /none/ { return 204;
          location /none/in { add_header_inherit on; add_header E 5; proxy_pass http://127.0.0.1:1;
            location /none/in/x { return 204; } } } } }""",
    )
    assert added(found["/"]) == {"A": "1", "B": "2", "C": "3"}
    assert added(found["/off"]) == {}
    assert added(found["/own"]) == {"D": "4"}
    assert added(found["/none/"]) == {"A": "1", "B": "2"}
    assert added(found["/none/in"]) == added(found["/none/in/x"]) == {"E": "5"}


def test_add_trailer_inherit_merges_or_keeps_off(tmp_path: Path) -> None:
    found = routes(
        tmp_path,
        """http { add_trailer A 1; add_trailer_inherit merge; server { listen 8080; add_trailer B 2;
        location / { add_trailer C 3; return 204; }
        location /off { add_trailer_inherit off; return 204; }
        location /on { add_trailer_inherit on; add_trailer D 4; return 204; } } }""",
    )
    names = {path: {trailer["name"] for trailer in found[path]["add_trailers"]} for path in ("/", "/off", "/on")}
    assert names == {"/": {"A", "B", "C"}, "/off": set(), "/on": {"D"}}


def test_what_answers_is_not_inherited(tmp_path: Path) -> None:
    found = routes(
        tmp_path,
        """server { listen 8080; root /srv; index a b;
        location /p/ { proxy_pass http://127.0.0.1:1; location /p/files { index c; } }
        location /i/ { internal; location /i/x { } } }""",
    )
    files = found["/p/files"]["content"]["files"]
    assert (files["root"], files["index"]) == ("/srv", ["c"])
    assert found["/i/x"]["content"]["files"]["index"] == ["a", "b"]


def test_rules_of_inheritance_are_known_by_directive() -> None:
    assert ROWS.rule("proxy_pass") is Inherit.BLOCKS
    assert ROWS.rule("internal") is Inherit.NONE
    assert ROWS.rule("root") is Inherit.REPLACED
