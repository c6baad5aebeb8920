"""Loading gateway.toml: what is right becomes a plan, what is wrong is told with its place."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from buchner import _native
from buchner.config import Loaded, load, load_dict
from buchner.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def load_text(tmp_path: Path, text: str, overrides: dict[str, Any] | None = None) -> Loaded:
    file = tmp_path / "gateway.toml"
    file.write_text(textwrap.dedent(text))
    loaded = load(file, overrides)
    _native.check_config(loaded.plan_json().decode())
    return loaded


def errors(tmp_path: Path, text: str, overrides: dict[str, Any] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load_text(tmp_path, text, overrides)
    return [str(problem).replace(f"{tmp_path}/", "") for problem in raised.value.problems]


EXAMPLE = """
    [app]
    target = "shop:create_app()"
    workers = 4
    threads = 2

    [[server]]
    listen = ["0.0.0.0:80"]
    names = ["example.com", "*.example.com"]

    [[server.route]]
    path = "/static/"
    files = "static/"

    [[server.route]]
    path = "/legacy/"
    proxy = "http://legacy/"
    set_headers = { Host = "$host", X-Real-IP = "$remote_addr", X-Forwarded-For = "$proxy_add_x_forwarded_for" }

    [[server.route]]
    path = "/"
    app = true

    [upstream.legacy]
    servers = ["127.0.0.1:5000 weight=2", "127.0.0.1:5001", "unix:/run/legacy.sock backup"]
"""


def test_the_example_becomes_a_plan_the_gateway_takes(tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    loaded = load_text(tmp_path, EXAMPLE)
    (server,) = loaded.plan["server"]
    assert [route["content"] for route in server["route"]] == [
        {"files": {"root": str(tmp_path / "static")}},
        {"proxy": {"upstream": "legacy", "uri": "/"}},
        {"app": {"pool": "app"}},
    ]
    assert loaded.plan["upstream"]["legacy"]["server"] == [
        {"address": "127.0.0.1:5000", "weight": 2},
        {"address": "127.0.0.1:5001"},
        {"address": "unix:/run/legacy.sock", "backup": True},
    ]
    assert loaded.app["app"].target == "shop:create_app()"
    assert loaded.app["app"].workers == 4
    assert loaded.listen == ["0.0.0.0:80"]
    assert loaded.warnings == []


def test_every_problem_of_the_schema_is_told_with_its_place(tmp_path: Path) -> None:
    found = errors(
        tmp_path,
        """\
        max_bdy = "64k"
        workers = 3
        [app]
        target = 5
        [[server]]
        [[server.route]]
        path = "/legacy/"
        files = { rot = "x" }
        """,
    )
    assert found == [
        """gateway.toml:1:1: max_bdy: unknown setting "max_bdy" (did you mean "max_body"?)
  1 | max_bdy = "64k"
    | ^^^^^^^""",
        """gateway.toml:2:1: workers: "workers" does not belong here but in [app]
  2 | workers = 3
    | ^^^^^^^""",
        """gateway.toml:4:10: app.target: must be a string, not a number
  4 | target = 5
    |          ^""",
        """gateway.toml:8:9: server[0].route[0].files: "root" is missing
  8 | files = { rot = "x" }
    |         ^^^^^^^^^^^^^""",
        """gateway.toml:8:11: server[0].route[0].files.rot: unknown setting "rot" (did you mean "root"?)
  8 | files = { rot = "x" }
    |           ^^^""",
    ]


def test_settings_are_inherited_and_kept_once(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        """
        max_body = "1m"
        add_headers = { A = "1", B = "2" }
        [[server]]
        listen = ":80"
        read_timeout = "1m30s"
        route = [
          { path = "/a", respond = 204, add_headers = { C = "3" } },
          { path = "/b", respond = 204, add_headers = { C = "3" } },
          { path = "/c", respond = 204 },
        ]
        """,
    )
    base = {"max_body": 1 << 20, "add_headers": {"A": "1", "B": "2"}}
    assert loaded.plan["settings"] == [
        base,
        base | {"read_timeout": 90_000},
        base | {"read_timeout": 90_000, "add_headers": {"C": "3"}},
    ]
    assert [route["settings"] for route in loaded.plan["server"][0]["route"]] == [2, 2, 1]


def test_a_dict_has_the_same_shape_and_problems_name_its_origin() -> None:
    loaded = load_dict({"app": {"target": "a:b"}}, "command line")
    assert loaded.listen == ["127.0.0.1:8000"]
    assert loaded.plan["server"][0]["route"] == [{"path": "/", "content": {"app": {"pool": "app"}}, "settings": 0}]
    with pytest.raises(ConfigError, match=r"^command line: app.workers: must be at least 1, not 0$"):
        load_dict({"app": {"workers": 0}}, "command line")
