"""The native half of the configuration: TOML with positions, the plan's schema."""

from __future__ import annotations

import json
import tomllib

import pytest

from buchner import _native


def test_toml_becomes_json() -> None:
    text = 'a = 1\nb = "x\\"\\n"\nc = [0x1F, 1.5, true]\nd = 1979-05-27\n[[server]]\nname = \'ü\'\n'
    document, problems = _native.parse_toml(text)
    assert problems == []
    assert json.loads(document) == {
        "a": 1,
        "b": 'x"\n',
        "c": [31, 1.5, True],
        "d": "1979-05-27",
        "server": [{"name": "ü"}],
    }


def test_all_syntax_errors_are_told() -> None:
    _, problems = _native.parse_toml("a = \nb = 1\nc = [1\nd = 2\n")
    assert len(problems) > 1
    assert min(start for start, _, _ in problems) == 4


def test_numbers_json_does_not_have_are_left_to_the_schema() -> None:
    document, _ = _native.parse_toml("a = nan\nb = 99999999999999999999\nc = inf\n")
    assert json.loads(document) == {"a": "nan", "b": "99999999999999999999", "c": "inf"}


def test_spans_are_bytes_of_keys_and_values() -> None:
    text = 'a = "ü"\n[b."c/d"]\ne = [1, 22]\n'
    data = text.encode()
    spans = {
        path: (data[key:stop].decode(), data[value:end].decode())
        for path, (key, stop, value, end) in _native.toml_spans(text).items()
    }
    assert spans["/a"] == ("a", '"ü"')
    assert spans["/b/c~1d"][0] == '"c/d"'
    assert spans["/b/c~1d/e"] == ("e", "[1, 22]")
    assert spans["/b/c~1d/e/1"] == ("22", "22")
    assert _native.toml_spans("a = ") == {}


def test_a_plan_is_checked_by_the_types_that_obey_it() -> None:
    _native.check_config("{}")
    with pytest.raises(ValueError, match="unknown field `nonsense`"):
        _native.check_config('{"nonsense": 1}')
    assert json.loads(_native.config_schema())["title"] == "Config"


def long_document(*extra: str) -> str:
    """More servers than are parsed in one piece, with all kinds of values."""
    servers = "".join(
        f'[[server]]\r\nnames = ["s{n}.example", \'x"{n}\']\nnumber = {n}\n'
        '[server.headers]\n"a b" = """\ntwo\nlines"""\n'
        f'[[server.route]]\npath = "/{n}/" # a comment\nrespond = {{ status = 204, rate = 0.{n} }}\n'
        for n in range(10_000)
    )
    return 'title = "long"\n[upstream.a]\nservers = ["127.0.0.1:1"]\n' + servers + "".join(extra)


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "[[server]]\n",
        "[upstream.b]\nx = 1\n",  # more than servers behind the first one
        "[[ server ]]\nnumber = 5\n[[server]] # the last\nnumber = 6\n",
        '[[server]]\ntext = """\n[[server]]\nnumber = 1\n"""\n',
        "[[server]]\ntext = '''\n[[server]]\nnumber = '''\nnumber = 2\n",
    ],
)
def test_a_long_document_means_what_it_means_in_one_piece(extra: str) -> None:
    text = long_document(extra)
    assert len(text) > 1 << 20
    document, problems = _native.parse_toml(text)
    assert problems == []
    assert json.loads(document) == tomllib.loads(text)


@pytest.mark.parametrize(
    "extra",
    [
        "[upstream.a]\nservers = []\n",  # defined twice, far from each other
        "title = 1\n[[server]]\nnumber = 1\nnumber = 2\n",
        "[server.b]\n[server.b]\n",
        '[[server]]\ntext = "a\n',
    ],
)
def test_mistakes_in_a_long_document_have_their_places(extra: str) -> None:
    text = long_document(extra)
    with pytest.raises(tomllib.TOMLDecodeError):
        tomllib.loads(text)
    _, problems = _native.parse_toml(text)
    assert problems
    assert all(start >= len(long_document().encode()) for start, _, _ in problems)


def test_servers_before_the_first_header_are_not_forgotten() -> None:
    text = long_document().replace('title = "long"', "server = []")
    with pytest.raises(tomllib.TOMLDecodeError):
        tomllib.loads(text)
    assert _native.parse_toml(text)[1]
