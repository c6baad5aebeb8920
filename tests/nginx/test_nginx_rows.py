"""Every row of the directive tables does what it says: it is proved by a test, has no effect, or is refused."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from buchner.nginx.adapt import Adapted, adapt
from buchner.nginx.directives import MODULES
from buchner.nginx.judgement import lines
from buchner.nginx.rows import Row, Status
from helpers.proofs import proofs, text_of

FILE = "/srv/nginx.conf"
BLOCKS = {
    "main": "%s\nhttp { server { listen 8080; } }",
    "events": "events {\n%s\n}\nhttp { server { listen 8080; } }",
    "http": "http {\n%s\nserver { listen 8080; } }",
    "upstream": "http { upstream u { server 127.0.0.1:1;\n%s\n} server { listen 8080; } }",
    "server": "http { server { listen 8080;\n%s\n} }",
    "location": "http { server { listen 8080; location / {\n%s\n} } }",
    "server_if": "http { server { listen 8080; if ($arg_a) {\n%s\n} } }",
    "location_if": "http { server { listen 8080; location / { if ($arg_a) {\n%s\n} } } }",
    "limit_except": "http { server { listen 8080; location / { limit_except GET {\n%s\n} } } }",
}
WORDS = ("x", "1", "on", "1k", "1s")


def rows(status: Status) -> list[Row]:
    """Return the rows of a kind; `include` is carried out before there are rows."""
    return [row for module in MODULES.values() for row in module if row.status is status and row.name != "include"]


def read(block: str, directive: str) -> Adapted:
    return adapt(Path(FILE), BLOCKS[block] % directive)


def written(row: Row) -> str:
    """Return the directive with as few arguments as it takes, each of the kind it takes."""
    readers = row.kind.read or ()
    words = []
    for index in range(min(row.kind.counts)):
        reader = readers[min(index, len(readers) - 1)] if readers else str
        for word in (*filter(str.isalnum, row.kind.words.split("|")), *WORDS):
            try:
                reader(word)
            except ValueError:
                continue
            words.append(word)
            break
    return " ".join([row.name, *words]) + (" {}" if row.block else ";")


@pytest.mark.parametrize("row", rows(Status.NO_EFFECT), ids=lambda row: row.name)
def test_what_has_no_effect_is_taken_and_changes_nothing(row: Row) -> None:
    for block in sorted(row.contexts):
        with_it, without = read(block, written(row)), read(block, "")
        assert with_it.state.problems == [], block
        assert with_it.state.document == without.state.document, block
        line = 1 if block == "main" else 2
        assert f"  {row.name} (line {line}): {row.note}" in lines(with_it.state.verdicts, FILE)


@pytest.mark.parametrize("row", rows(Status.REFUSED), ids=lambda row: f"{row.name}-{min(row.contexts)}")
def test_what_is_refused_is_told_with_its_place_and_reason(row: Row) -> None:
    for block, end in product(sorted(row.contexts), (";", " {}") if row.block else (";", " a b;")):
        (problem,) = read(block, f"  {row.name}{end}").state.problems
        line = 1 if block == "main" else 2
        assert (problem.file, problem.line, problem.column) == (FILE, line, 3), block
        assert problem.message == f'"{row.name}" is refused: {row.note}'


def test_every_supported_directive_is_proved_and_nothing_else() -> None:
    assert sorted(proofs()) == sorted({row.name for row in rows(Status.SUPPORTED)})


@pytest.mark.parametrize("name", sorted(proofs()))
def test_the_proof_of_a_directive_is_there_and_has_it(name: str) -> None:
    assert proofs()[name]
    for proof in proofs()[name]:
        assert re.search(rf"(?<![\w$]){name}(?!\w)", text_of(proof)), proof
