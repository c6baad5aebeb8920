"""nginx.conf's language: words, marks, places, includes and times are what nginx makes of them."""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from buchner.config import load
from buchner.nginx import units
from buchner.nginx.lexer import Source, tokens
from helpers.syntax import LOCATION, SERVER, accepted, problems
from helpers.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from buchner.errors import Problem


def words(text: str) -> list[str]:
    found: list[Problem] = []
    return [token.text for token in tokens(Source("x", text), found) if not found]


WORDS = [
    r"b",
    r"b\ c",
    r"b\;c\{d",
    r"b\\c",
    r"b\tc\rd",
    r"b\nc",
    r"b\qc\.d",
    r"b\"c\'d",
    r"b\#c#d",
    r"\#b",
    r"\ b",
    r"'b\${request_method}'",
    r"b'c\"d",
    r"b}c",
    r"'b c'",
    r"'b;c{d}e'",
    r"'b\'c'",
    r"'b\"c'",
    r"'b\\'",
    r"'b\nc\td'",
    r"'b\qc'",
    r'"b c"',
    r'"b\"c\'d"',
    r'"b\\"',
    r'"b\;c"',
    r'"b#c"',
    r'"b' + "\n" + r'c"',
    r"${request_method}b",
    r"'${request_method}b'",
    r"b${request_method}",
    "bü",
    r"''",
]


def test_words_are_what_nginx_makes_of_them(tmp_path: Path, require_peer: Callable[[str], str]) -> None:
    nginx = require_peer("nginx")
    path = tmp_path / "s"
    # quotes around the answer show where it begins and ends
    locations = "".join(f"location = /{index} {{ return 200 {word}; }}\n" for index, word in enumerate(WORDS))
    text = LOCATION.replace("location /x/ { %s\n }", locations).replace("DIR", str(tmp_path))
    (tmp_path / "nginx.conf").write_text(f"daemon off; master_process off; pid {tmp_path}/pid;\n{text}")
    with subprocess.Popen([nginx, "-e", "stderr", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]) as process:
        try:
            wait_for(lambda: listens(path), "nginx's socket", 20)
            for index, word in enumerate(WORDS):
                expected = words(f"x {word};")[1].replace("${request_method}", "GET")
                assert asked(path, f"/{index}").decode() == expected, word
        finally:
            process.terminate()


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def asked(path: Path, target: str) -> bytes:
    """The body of an answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        with client.makefile("rb") as answer:
            return answer.read().partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b;", ["a", "b", ";"]),
        ("a{b;}", ["a", "{", "b", ";", "}"]),
        ("a # b;\n;", ["a", ";"]),
        ("a#b ;", ["a#b", ";"]),
        ("a ${b}c;", ["a", "${b}c", ";"]),
        ("a ${{b;", ["a", "${{b", ";"]),
        ("if ('a' = \"b\"){", ["if", "('a'", "=", "b", ")", "{"]),
        ('a "b c;{}" ;', ["a", "b c;{}", ";"]),
        ('a "";', ["a", "", ";"]),
        ('a b"c;', ["a", 'b"c', ";"]),
        ("a b\\", ["a", "b\\"]),
    ],
)
def test_marks_stand_where_nginx_finds_them(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_positions_count_lines_and_columns() -> None:
    found = list(tokens(Source("x", 'a "b\nc" d;\n  é f;'), []))
    assert [(token.text, token.line, token.column) for token in found if not token.mark] == [
        ("a", 1, 1),
        ("b\nc", 1, 3),
        ("d", 2, 4),
        ("é", 3, 3),
        ("f", 3, 5),
    ]


EVERYTHING_WRONG = """\
F:1:1: the block of "server" is not closed by "}"
  1 | server {
    | ^^^^^^
F:2:9: "0.0.0.0:80800" has no valid port: a number up to 65535 is one
  2 |  listen 80800;
    |         ^^^^^
F:3:27: unexpected "5" behind the closing ": a space or ";" belongs there
  3 |  location / { return "200"5; }
    |                           ^
F:4:2: unknown directive "nosuch"
  4 |  nosuch on;
    |  ^^^^^^
F:5:2: the file ends before the ";" of "root"
  5 |  root "/a
    |  ^^^^
F:5:7: this " is not closed: the file ends before another one
  5 |  root "/a
    |       ^"""


def test_all_problems_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text('server {\n\tlisten 80800;\n\tlocation / { return "200"5; }\n\tnosuch on;\n\troot "/a\n}\n')
    shown = "\n".join(problem.replace(str(path), "F") for problem in problems(path))
    assert shown == EVERYTHING_WRONG


def test_bytes_that_are_not_utf8_are_fine_in_comments_only(tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    path.write_bytes(b"# caf\xe9\nserver { listen 8080; return 200 x; }\n")
    assert problems(path) == []
    path.write_bytes(b"server { listen 8080; return 200 caf\xe9; }\n")
    (problem,) = problems(path)
    assert 'nginx.conf:1:34: "caf\ufffd" has bytes that are not UTF-8' in problem


def test_includes_start_at_the_main_file_and_patterns_are_sorted(
    tmp_path: Path, require_peer: Callable[[str], str]
) -> None:
    nginx = require_peer("nginx")
    sub = tmp_path / "sub"
    sub.mkdir()
    (sub / "b.conf").write_text("include sub/deep/*.inc; location /b { }\n")
    (sub / "a.conf").write_text("location /a { }\n")
    (sub / ".hidden.conf").write_text("nosuch;\n")
    (sub / "deep").mkdir()
    (sub / "deep" / "[x].inc").write_text("location /x { }\n")
    text = SERVER.replace("%s", "include sub/*.conf; include sub/*.nosuch; include sub/[a].conf;")
    theirs, said = accepted(nginx, tmp_path, text.replace("DIR", str(tmp_path)))
    assert not theirs
    assert 'duplicate location "/a"' in said
    (problem,) = problems(tmp_path / "nginx.conf")
    assert "sub/a.conf:1:10: " in problem
    (tmp_path / "nginx.conf").write_text((tmp_path / "nginx.conf").read_text().replace("include sub/[a].conf;", ""))
    loaded = load(tmp_path / "nginx.conf")
    assert [route["path"] for route in loaded.plan["server"][0]["route"]] == ["/a", "/x", "/b", "/"]
    assert [path.name for path in loaded.files] == ["nginx.conf", "a.conf", "b.conf", "[x].inc"]


def test_an_include_that_comes_back_to_itself_is_told_with_the_way(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text("include a.conf;\nserver { listen 8080; }\n")
    (tmp_path / "a.conf").write_text("include *.conf;\n")
    assert [
        problem.partition("\n")[0].replace(str(tmp_path), "D") for problem in problems(tmp_path / "nginx.conf")
    ] == [
        'D/a.conf:1:9: "D/a.conf" includes itself: a.conf → a.conf',
        'D/a.conf:1:9: "D/nginx.conf" includes itself: nginx.conf → a.conf → nginx.conf',
    ]


@pytest.mark.parametrize(
    ("text", "seconds", "expected"),
    [
        ("60", False, 60_000),
        ("500ms", False, 500),
        ("1h 30m", False, 5_400_000),
        ("1d12h", False, 129_600_000),
        ("1m30", False, 90_000),
        ("10 500ms", False, None),
        ("1M", False, None),
        ("1M", True, 2_592_000_000),
        ("1y2M3w4d5h6m7s", True, 38_898_367_000),
        ("100ms", True, None),
        ("1s1m", False, None),
        ("", False, None),
        ("m", False, None),
        ("-1", False, None),
        ("1.5s", False, None),
        ("٣", False, None),
    ],
)
def test_times_are_read_as_nginx_reads_them(text: str, seconds: bool, expected: int | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="is not a time"):
            units.milliseconds(text, seconds=seconds)
    else:
        assert units.milliseconds(text, seconds=seconds) == expected
