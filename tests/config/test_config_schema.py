"""The schema and the typed classes say the same, and the generated files are current."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import msgspec
import pytest

from buchner.config import _generated as gen
from buchner.config import load, load_dict
from buchner.config.model import AppSettings, ProcessSettings
from buchner.config.validate import schema
from buchner.errors import ConfigError
from helpers.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_the_schema_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_every_setting_is_documented() -> None:
    tables = {"top": schema(), **schema()["$defs"]}
    missing = [
        f"{name}.{field}"
        for name, body in tables.items()
        for field, prop in body.get("properties", {}).items()
        if "/properties/" not in prop.get("$ref", "") and len(prop.get("description", "")) < 5
    ]
    assert missing == []


def test_defaults_of_python_models_are_those_of_the_schema() -> None:
    for model, name in ((AppSettings, "App"), (ProcessSettings, "Gateway")):
        properties = schema()["$defs"][name]["properties"]
        for field in msgspec.structs.fields(model):
            default = None if field.default is msgspec.NODEFAULT else field.default
            if default is not None:
                assert properties[field.name]["default"] == default, field.name


SAMPLES: list[dict[str, Any]] = [
    {},
    {"app": "a:b"},
    {"app": {"workers": 1, "max_age": 1.5, "max_rss": "1g"}},
    {"app": {"workers": 0}},
    {"app": {"workers": 1.5}},
    {"app": {"env": {"A": 1}}},
    {"app": True},
    {"apps": {"x": "a:b"}},
    {"server": {}},
    {"server": [{"listen": 80}]},
    {"server": [{"listen": ["x"], "names": "y"}]},
    {"server": [{"route": [{}]}]},
    {"server": [{"route": [{"path": "/", "respond": 204}, {"path": "/", "app": "x"}]}]},
    {"server": [{"route": [{"path": "/", "respond": {"status": 70_000}}]}]},
    {"server": [{"route": [{"path": "/", "files": {"root": "x"}, "types": {"a": "b"}}]}]},
    {"server": [{"route": [{"path": "/", "files": {"index": []}}]}]},
    {"access_log": False},
    {"access_log": ["-", {"path": "x"}]},
    {"access_log": [1]},
    {"access_log": {"format": "x"}},
    {"upstream": {"x": {}}},
    {"upstream": {"x": {"servers": ["a", {"address": "b", "weight": 2}]}}},
    {"gateway": {"io_threads": -1}},
    {"gateway": {"io_threads": 1 << 32}},
    {"gateway": {"trusted_proxies": ["*"], "pid_file": "x"}},
    {"max_body": None},
    {"max_body": [1]},
    {"nonsense": 1},
]


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_the_schema_and_the_classes_agree(sample: dict[str, Any]) -> None:
    valid = jsonschema.Draft202012Validator(schema()).is_valid(sample)
    try:
        msgspec.convert(sample, gen.Document)
    except msgspec.ValidationError:
        assert not valid
    else:
        assert valid


def test_a_setting_stands_once_and_the_levels_refer_to_it() -> None:
    levels = [schema(), *(schema()["$defs"][name] for name in ("Server", "Route", "If", "LimitExcept"))]
    for name, prop in schema()["$defs"]["Settings"]["properties"].items():
        assert "$ref" in prop or prop.keys() & {"type", "anyOf"}, name
        assert [level["properties"][name] for level in levels] == [{"$ref": f"#/$defs/Settings/properties/{name}"}] * 5
    text = Path(gen.__file__).read_text()
    assert text.count("    gzip_vary: bool") == 1


def _values(shape: dict[str, Any], *, is_named: bool = False) -> Iterator[Any]:
    """Yield values of a setting with a variable that there is not, one for each form of it.

    Args:
        shape: what is in it.
        is_named: it stands under a name already.

    """
    if shape.get("text") in ("text", "pattern", "path-text"):
        yield "$nonsense"
    if "items" in shape:
        yield from ([value] for value in _values(shape["items"]))
    if "values" in shape:
        yield from ({"404": value} for value in _values(shape["values"], is_named=True))
    for name in shape.get("fields", {}):
        yield from ({**_others(shape, is_named=is_named), name: value} for value in _values(shape["fields"][name]))


def _others(shape: dict[str, Any], *, is_named: bool) -> dict[str, str]:
    """The fields that a table has to have: those of its texts, and a header's name."""
    names = ("value", "from", "to", "cookie", "text", "replacement")
    required = {name: "x" for name in names if name in shape["fields"]}
    return {**required, "name": "x"} if "value" in required and not is_named else required


def _wrong_texts() -> Iterator[Any]:
    for name, shape in gen.FORMATS.items():
        yield from (pytest.param(name, value, id=f"{name}-{value}") for value in _values(shape))


@pytest.mark.parametrize(("name", "value"), list(_wrong_texts()))
def test_an_unknown_variable_is_told_in_each_setting_with_variables(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as raised:
        load_dict({"app": "a:b", name: value}, "test")
    assert "nonsense" in str(raised.value), str(raised.value)


def test_paths_begin_at_the_directory_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(
        'app = "a:b"\nrequest_body_dir = "bodies"\nsendfile_roots = ["files", "/srv"]\n'
        'auth_basic = "x"\nauth_basic_user_file = "users/$host"\n'
    )
    settings = json.loads(load(tmp_path / "gateway.toml").plan_json())["settings"][0]
    assert settings["request_body_dir"] == f"{tmp_path}/bodies"
    assert settings["sendfile_roots"] == [f"{tmp_path}/files", "/srv"]
    assert settings["auth_basic_user_file"] == f"{tmp_path}/users/$host"


def test_generated_files_are_current() -> None:
    pytest.importorskip("datamodel_code_generator")
    result = subprocess.run(
        [sys.executable, ROOT / "scripts/gen.py", "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
