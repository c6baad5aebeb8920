"""nginx.conf: every directory of tests/nginx_conf holds a file and the plan, or the errors, that come of it.

``BUCHNER_WRITE_GOLDEN=1 pytest tests/nginx/test_nginx_conf.py`` writes the expectations anew; read the difference.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest

from buchner import _native
from buchner.config import Loaded, load
from buchner.errors import ConfigError
from helpers.places import TESTS

if TYPE_CHECKING:
    from pathlib import Path

CASES = TESTS / "nginx_conf"
GOOD = ("files", "full", "nested", "returns", "seed", "seed_http")
BAD = ("contexts", "include_loop", "syntax", "unknown", "values")


def copied(name: str, tmp_path: Path) -> Path:
    shutil.copytree(CASES / name, tmp_path / name)
    return tmp_path / name / "nginx.conf"


def shown(loaded: Loaded, directory: Path) -> str:
    threads = loaded.plan["gateway"]
    if loaded.process.user is None:
        threads.pop("io_threads")  # depends on the machine unless worker_processes says it
    data = {
        "plan": loaded.plan,
        "sockets": msgspec.to_builtins(loaded.sockets),
        "process": {name: getattr(loaded.process, name) for name in ("user", "pid_file", "error_log")},
        "warnings": [str(warning) for warning in loaded.warnings],
    }
    return json.dumps(data, indent=1, sort_keys=True).replace(str(directory), "/DIR") + "\n"


def compare(expected: Path, text: str) -> None:
    if os.environ.get("BUCHNER_WRITE_GOLDEN"):
        expected.write_text(text)
    assert text == expected.read_text()


def test_every_directory_is_tested() -> None:
    assert sorted(path.name for path in CASES.iterdir()) == sorted(GOOD + BAD)


@pytest.mark.parametrize("name", GOOD)
def test_good_files_become_a_plan(name: str, tmp_path: Path) -> None:
    path = copied(name, tmp_path)
    loaded = load(path)
    _native.check_config(loaded.plan_json().decode())
    compare(CASES / name / "expected.json", shown(loaded, path.parent))


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_with_all_problems(name: str, tmp_path: Path) -> None:
    path = copied(name, tmp_path)
    with pytest.raises(ConfigError) as raised:
        load(path)
    compare(CASES / name / "expected.txt", str(raised.value).replace(str(path.parent), "/DIR") + "\n")


def test_the_seed_means_the_same_with_and_without_http(tmp_path: Path) -> None:
    paths = [copied(name, tmp_path) for name in ("seed", "seed_http")]
    plans = [load(path).plan_json().decode().replace(str(path.parent), "/DIR") for path in paths]
    assert json.loads(plans[0]) == json.loads(plans[1])


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    loaded = load(copied("full", tmp_path), {"gateway": {"io_threads": 3}})
    assert loaded.plan["gateway"]["io_threads"] == 3
    assert loaded.process.user == "www-data"
