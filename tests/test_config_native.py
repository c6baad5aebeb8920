"""The native half of the configuration: TOML with positions, the plan's schema."""

from __future__ import annotations

import json

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
