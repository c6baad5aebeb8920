"""`buchner check nginx.conf`: what becomes of each directive, for people and for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from buchner.cli import cli

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """\
user root;
worker_processes 2;
events { worker_connections 768; }
http {
    sendfile on;
    include part.conf;
    server {
        listen 8080;
        location / { return 204; }
        location /x { return 204; }
        location /y { return 204; }
        location /z { return 204; }
    }
}
"""


def check(path: Path, *words: str) -> Any:
    return CliRunner().invoke(cli, ["check", *words, str(path)])


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "nginx.conf"
    path.write_text(TEXT)
    (tmp_path / "part.conf").write_text("default_type text/plain;\n")
    return path


def test_the_summary_comes_first_then_each_directive(conf: Path) -> None:
    shown = check(conf)
    assert shown.exit_code == 0, shown.output
    first, *rest = shown.output.splitlines()
    assert first == f"{conf}: 17 directives: 15 supported, 2 accepted without effect, 0 refused"
    assert rest[0] == "accepted without effect:"
    assert "  sendfile (line 5): the gateway sends files by the cheapest way" in rest
    assert "  location ×4 (line 9, line 10, line 11, …): [[server.route]]" in rest
    assert f"  default_type ({conf.parent}/part.conf:1): default_type" in rest
    assert rest[-1] == f"{conf} is right: 1 server, 0 apps"


def test_what_is_refused_is_told_with_its_reason_and_place(conf: Path) -> None:
    conf.write_text(TEXT.replace("listen 8080;", "listen 8080 quic; flv; nosuch;"))
    shown = check(conf)
    assert shown.exit_code == 2
    assert "16 directives" not in shown.output
    refused = shown.output.splitlines()[1:4]
    assert refused[0] == "refused:"
    assert refused[1] == "  listen (line 8): listen … quic: HTTP/3 is not supported yet"
    assert f'{conf}:8:21: "listen … quic" is refused: HTTP/3 is not supported yet' in shown.output
    assert f'{conf}:8:27: "flv" is refused: it is not part of Buchner\'s nginx.conf' in shown.output
    assert f'{conf}:8:32: unknown directive "nosuch"' in shown.output


def test_programs_get_the_same_as_json(conf: Path) -> None:
    conf.write_text(TEXT.replace("sendfile on;", "ssi on;"))
    shown = check(conf, "--json")
    assert shown.exit_code == 2
    document = json.loads(shown.stdout)
    assert document["right"] is False
    assert document["summary"] == {"supported": 15, "no_effect": 1, "refused": 1}
    assert document["problems"] == [
        {
            "message": '"ssi" is refused: it is not supported yet',
            "where": "",
            "file": str(conf),
            "line": 5,
            "column": 5,
        }
    ]
    assert {
        "directive": "ssi",
        "file": str(conf),
        "line": 5,
        "column": 5,
        "status": "refused",
        "note": "it is not supported yet",
    } in document["directives"]


def test_json_of_a_gateway_toml_has_no_directives(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('[[server]]\n[[server.route]]\npath = "/"\nrespond = 204\n')
    document = json.loads(check(path, "--json").stdout)
    assert document == {"file": str(path), "right": True, "problems": [], "warnings": []}


def test_the_gateways_own_code_has_its_say(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_plan: str) -> None:
        raise ValueError("server[0]: it is Monday")

    monkeypatch.setattr("buchner._native.check_config", refuse)
    shown = check(conf)
    assert shown.exit_code == 2
    assert "server[0]: it is Monday" in shown.output
