"""The schema and the typed classes say the same, and the generated files are current."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from buchner.config import _generated as gen
from buchner.config.model import AppSettings, ProcessSettings
from buchner.config.validate import schema

ROOT = Path(__file__).parent.parent


def test_the_schema_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_every_setting_is_documented() -> None:
    tables = {"top": schema(), **schema()["$defs"]}
    missing = [
        f"{name}.{field}"
        for name, body in tables.items()
        for field, prop in body.get("properties", {}).items()
        if len(prop.get("description", "")) < 5
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


def test_both_copies_of_the_schema_are_the_same() -> None:
    assert json.loads((ROOT / "schema/gateway.schema.json").read_text()) == schema()


def test_generated_files_are_current() -> None:
    pytest.importorskip("datamodel_code_generator")
    result = subprocess.run(
        [sys.executable, ROOT / "scripts/gen.py", "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
